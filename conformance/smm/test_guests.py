"""SMIs that come while a guest runs (15.22)."""

from conformance.gif.interrupts import source
from conformance.intercepts.tried import GOES_ON, NOT_RUN
from conformance.smm.handler import (
    ADDED,
    COUNT,
    FIELDS,
    MARK,
    MEMORY,
    SAVED,
    SAVED_SIZE,
    SMI,
    WATCHES,
    count,
    first,
    has_smm,
)
from conformance.vmrun.guests import each_ends
from conformance.vmrun.visits import Visit, visits
from harness.cases import executes, requirement
from harness.lab.guest import Guest, Mode, guest
from harness.lab.program import Program
from harness.lab.seen import Seen
from harness.model import exits
from harness.model.registers import Misc1

RBX = 0x1234_5678
CPUID, RSM = (1 << code - exits.INTR for code in (0x72, 0x73))
"""Of ``intercept_misc1``."""

WAITS = source("wait_a_little\n")


def interrupted(intercepts: int = 0) -> Guest:
    """A guest that tells by its RBX what the handler left there."""
    misc1 = Misc1.SHUTDOWN | intercepts
    return guest(Mode.LONG, f"{WAITS}vmmcall", intercept_misc1=misc1, exitcode=NOT_RUN, rbx=RBX)


SENT = source(f"clgi\nsend {SMI:#x}")
"""With GIF=0, so that it waits for VMRUN."""

AFTER = source(f"mov r12d, [{COUNT:#x}]\nstgi\nwait_a_little\nmov r13d, [{COUNT:#x}]")
"""How often the handler has begun, before STGI and after it."""


def entered(**them: Guest) -> dict[str, Program]:
    """One program: an SMI for the host, then one for each of these guests.

    An engine that exits from SMM holds all further SMIs: what that shows in judges nothing else.
    """
    return visits(
        {name: Visit(it, SENT, AFTER) for name, it in them.items()},
        first=first(),
        memory=MEMORY,
        watches=WATCHES,
    )


PLAIN = entered(taken=interrupted())
INTERCEPTING = entered(intercepting=interrupted(CPUID | RSM))
INTERCEPTED = entered(intercepted=interrupted(Misc1.SMI))


@requirement("SVM-15.22-001")
@executes(PLAIN)
def test_smi_in_a_guest_saves_its_state(ran: Seen) -> None:
    """An SMI in a guest that does not intercept it comes to the handler, which finds the guest's state saved."""
    has_smm(ran)
    it = ran.vmrun("taken")
    assert count(ran, "taken") == 2
    area = ran.memory(SAVED, SAVED_SIZE, [step.name for step in ran.program.steps].index("taken"))
    start = 0x10000 - SAVED_SIZE
    saved = {name: int.from_bytes(area[at - start : at - start + 8], "little") for name, at in FIELDS.items()}
    guests = {name: it.before[name] for name in ("rsp", "rip", "cr3")}
    assert {name: saved[name] for name in guests} == guests
    assert (saved["rbx"], saved["efer"] & 0xD00) == (RBX, it.before.efer & 0xD00)


@requirement("SVM-15.22-006")
@executes(PLAIN)
def test_rsm_returns_to_the_guest(ran: Seen) -> None:
    """RSM returns to the guest, which comes to its VMMCALL with the RBX that the handler put into the save area."""
    has_smm(ran)
    each_ends(ran, {"taken": GOES_ON})
    assert count(ran, "taken", MARK) == 2
    assert ran.vmrun("taken").step.registers["rbx"] == RBX + ADDED


@requirement("SVM-15.22-007")
@executes(INTERCEPTING)
def test_smm_is_not_subject_to_the_guests_intercepts(ran: Seen) -> None:
    """A handler that was entered from a guest executes CPUID and RSM without an exit, which the VMCB intercepts."""
    has_smm(ran)
    each_ends(ran, {"intercepting": GOES_ON})
    assert (count(ran, "intercepting"), count(ran, "intercepting", MARK)) == (2, 2)


@requirement("SVM-15.22-002")
@executes(INTERCEPTED)
def test_intercepted_smi_stays_pending(ran: Seen) -> None:
    """An SMI that is intercepted exits with 62h, and comes to the handler once the host executes STGI."""
    has_smm(ran)
    each_ends(ran, {"intercepted": exits.SMI})
    left = ran["intercepted"].registers
    assert left["r13"] & 0xFFFF_FFFF == (left["r12"] & 0xFFFF_FFFF) + 1
