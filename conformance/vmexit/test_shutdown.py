"""The intercept of shutdown (15.14.3)."""

from conformance.vmrun.guests import each_ends, runs
from harness.cases import executes, requirement
from harness.lab.guest import Mode, guest
from harness.lab.seen import Seen
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
