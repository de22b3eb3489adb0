"""INTERRUPT_SHADOW after an exit, and a VMRUN in a shadow of the host (15.21.5)."""

from conformance.interrupt_intercepts.guests import VECTOR, interruptible, progress, sent
from conformance.vmrun.guests import VMMCALL, each_ends
from conformance.vmrun.visits import Visit, visits
from harness.cases import executes, requirement
from harness.lab.guest import Mode, guest
from harness.lab.programs import vmruns
from harness.lab.seen import Seen
from harness.model import exits

SHADOWS = {
    "STI": guest(Mode.LONG, "sti\nvmmcall"),
    "STI, 32 bits": guest(Mode.PROTECTED, "sti\nvmmcall"),
    "STI, 16 bits": guest(Mode.REAL, "sti\nvmmcall"),
    "MOV SS": guest(Mode.REAL, "mov ss, ax\nvmmcall"),
    "POP SS": guest(Mode.REAL, "push ss\npop ss\nvmmcall"),
    "STI, NOP": guest(Mode.LONG, "sti\nnop\nvmmcall"),
    "MOV SS, NOP": guest(Mode.REAL, "mov ss, ax\nnop\nvmmcall"),
    "nothing": guest(Mode.LONG, "nop\nvmmcall"),
    "shadow before": guest(Mode.LONG, "nop\nvmmcall", interrupt_state=1),
    "shadow before, STI, NOP": guest(Mode.LONG, "sti\nnop\nvmmcall", interrupt_state=1),
}
"""The guests' VMMCALL exits."""


def left(ran: Seen, *names: str) -> dict[str, int]:
    """INTERRUPT_SHADOW as the exits wrote it."""
    each_ends(ran, dict.fromkeys(names, VMMCALL))
    return {name: ran.vmrun(name).after.interrupt_state & 1 for name in names}


@requirement("SVM-15.21.5-001")
@executes({"": vmruns(SHADOWS)})
def test_exit_behind_sti_is_in_a_shadow(ran: Seen) -> None:
    """INTERRUPT_SHADOW is 1 after the exit of the instruction that follows an STI."""
    names = ("STI", "STI, 32 bits", "STI, 16 bits")
    assert left(ran, *names) == dict.fromkeys(names, 1)


@requirement("SVM-15.21.5-005")
@executes({"": vmruns(SHADOWS)})
def test_exit_behind_a_load_of_ss_is_in_a_shadow(ran: Seen) -> None:
    """INTERRUPT_SHADOW is 1 after the exit of the instruction that follows MOV to SS or POP SS."""
    names = ("MOV SS", "POP SS")
    assert left(ran, *names) == dict.fromkeys(names, 1)


@requirement("SVM-15.21.5-006")
@executes({"": vmruns(SHADOWS)})
def test_exit_elsewhere_is_in_no_shadow(ran: Seen) -> None:
    """INTERRUPT_SHADOW is 0 one instruction later, and where there was no shadow, also if it was 1 before VMRUN."""
    names = ("STI, NOP", "MOV SS, NOP", "nothing", "shadow before", "shadow before, STI, NOP")
    assert left(ran, *names) == dict.fromkeys(names, 0)


WAITS = sent(0x4000 + VECTOR)
IN_SHADOW = visits(
    {
        "no shadow": Visit(interruptible("nop\nnop\nvmmcall"), WAITS),
        "STI": Visit(interruptible("nop\nnop\nvmmcall"), WAITS, last="sti"),
        "MOV SS": Visit(interruptible("nop\nnop\nvmmcall"), f"{WAITS}\nmov ecx, ss", last="mov ss, ecx"),
    }
)


@requirement("SVM-15.21.5-004")
@executes(IN_SHADOW)
def test_shadow_of_the_host_is_not_the_guests(ran: Seen) -> None:
    """Right behind STI or MOV SS, VMRUN begins a guest that an interrupt meets before its first instruction."""
    each_ends(ran, dict.fromkeys(("no shadow", "STI", "MOV SS"), exits.INTR))
    assert {name: progress(ran, name) for name in ("STI", "MOV SS")} == {"STI": 0, "MOV SS": 0}
