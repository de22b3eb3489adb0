"""The intercept of shutdown (15.14.3)."""

from conformance.vmrun.guests import each_ends, runs
from harness.cases import executes, requirement
from harness.lab.guest import Mode, guest
from harness.lab.programs import vmruns
from harness.lab.seen import Seen
from harness.machine.ending import How
from harness.model import exits

TRIPLE = {
    "64-bit mode": guest(Mode.LONG, "ud2"),
    "32-bit protected mode": guest(Mode.PROTECTED, "ud2"),
    "INT without an IDT": guest(Mode.LONG, "int 0x80"),
}


@requirement("SVM-15.14.3-001")
@executes(runs(TRIPLE))
def test_triple_fault_exits(ran: Seen) -> None:
    """A guest that has no handler for #DF exits with 7Fh."""
    each_ends(ran, dict.fromkeys(TRIPLE, exits.SHUTDOWN))


@requirement("SVM-15.14.3-003")
@executes({"": vmruns({"intercepted": guest(Mode.LONG, "ud2"), "free": guest(Mode.LONG, "ud2", intercept_misc1=0)})})
def test_triple_fault_takes_the_machine_down(ran: Seen) -> None:
    """Without the intercept the triple fault of a guest is the machine's: it does not exit."""
    each_ends(ran, {"intercepted": exits.SHUTDOWN})
    assert ran.ended.how in (How.TRIPLE_FAULT, How.SHUTDOWN, How.RESET), f"the machine {ran.ended}"
