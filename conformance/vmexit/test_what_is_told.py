"""What #VMEXIT leaves in the control area for software to see (15.6): EXITCODE, V_IRQ, and EVENTINJ without its V."""

from conformance.event_injection.guests import EXCEPTION, INTERRUPT, Tables
from conformance.exception_intercepts.guests import IDT_NOWHERE, PF, UD, raises
from conformance.intercepts.tried import NOT_RUN, tried
from conformance.vmrun.guests import VMMCALL, each_ends
from harness.cases import executes, requirement
from harness.lab import places
from harness.lab.guest import Guest, Mode, guest
from harness.lab.programs import vmruns
from harness.lab.seen import Seen
from harness.model import exits
from harness.model.registers import Event, Vintr

_CODES = places.DATA + 0x10 * places.PAGE

REASONS = {
    "VMMCALL": (tried("nop"), VMMCALL),
    "CPUID": (tried("cpuid", exits.CPUID), exits.CPUID),
    "#UD": (raises("ud2", UD), UD),
    "shutdown": (raises("ud2"), exits.SHUTDOWN),
    "INTn": (tried("int 0x80", exits.INTN), exits.INTN),
}


@requirement("SVM-15.6-005")
@executes({"": vmruns({name: it.guest(_CODES + n * places.PAGE) for n, (name, (it, _)) in enumerate(REASONS.items())})})
def test_reason_is_stored(ran: Seen) -> None:
    """EXITCODE tells the reason of each exit."""
    assert all(ran.vmrun(name).before.exitcode == NOT_RUN for name in REASONS)
    each_ends(ran, {name: code for name, (_, code) in REASONS.items()})


VECTOR = 0x80
PENDING = Vintr.V_IRQ | 0xF << 16 | VECTOR << 32


def waiting(code: str, vintr: int) -> Guest:
    """A guest with RFLAGS.IF=0 at its start."""
    return Tables().guest(0, f"{code}\nmov ebx, 1\nvmmcall", vintr=vintr, exitcode=NOT_RUN)


INTERRUPTED = {
    "not taken": (waiting("nop", PENDING), 1),
    "taken": (waiting("sti\nnop\nnop", PENDING), VECTOR),
    "none": (waiting("sti\nnop\nnop", PENDING & ~Vintr.V_IRQ), 1),
}


@requirement("SVM-15.6-003")
@executes({"": vmruns({name: it for name, (it, _) in INTERRUPTED.items()})})
def test_v_irq_tells_whether_it_was_taken(ran: Seen) -> None:
    """V_IRQ is 1 in the VMCB as long as the guest has not taken the virtual interrupt, and 0 when it has."""
    each_ends(ran, dict.fromkeys(INTERRUPTED, VMMCALL))
    came_to = {name: ran.vmrun(name).step.registers["rbx"] for name in INTERRUPTED}
    assert came_to == {name: expected for name, (_, expected) in INTERRUPTED.items()}
    pending = {name: bool(ran.vmrun(name).after.vintr & Vintr.V_IRQ) for name in INTERRUPTED}
    assert pending == {"not taken": True, "taken": False, "none": False}


INJECTED = {
    "an interrupt": (Tables().guest(INTERRUPT | VECTOR), VMMCALL),
    "an exception": (Tables().guest(EXCEPTION | 6), VMMCALL),
    "cut short": (guest(Mode.LONG, eventinj=EXCEPTION | 6, intercept_exceptions=1 << 14, **IDT_NOWHERE), PF),
}


@requirement("SVM-15.6-020")
@executes({"": vmruns({name: it for name, (it, _) in INJECTED.items()})})
def test_event_is_not_injected_again(ran: Seen) -> None:
    """After the exit EVENTINJ.V is 0, also where the event's delivery ended in the exit."""
    each_ends(ran, {name: code for name, (_, code) in INJECTED.items()})
    assert [name for name in INJECTED if ran.vmrun(name).after.eventinj & Event.V] == []
