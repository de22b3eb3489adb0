"""#DB that is intercepted (15.12.2)."""

from conformance.exception_intercepts.guests import DB, GP, raises
from conformance.intercepts.tried import Changes, Tries
from harness.cases import executes, requirement
from harness.lab import places
from harness.lab.program import Program
from harness.lab.programs import program
from harness.lab.seen import Seen
from harness.lab.steps import code, enable_svm
from harness.model.registers import Rflags

TF: Changes = {"rflags": Rflags.TF | 2}
BREAK_0, GD, RESERVED_ONE = 1 << 0, 1 << 13, 1 << 10
"""DR7: breakpoint 0 is on, for instructions; general detect; a bit that is always 1."""

B0, BD, BS = 1 << 0, 1 << 13, 1 << 14
"""DR6: breakpoint 0, access to a debug register, single step."""

CAUSES = Tries(
    {
        "trap": raises("nop", DB, **TF),
        "INT1": raises("db 0xF1", DB, GP),
        "general detect": raises("mov rcx, dr0", DB, dr7=GD | RESERVED_ONE),
    }
)


@requirement("SVM-15.12.2-001")
@executes(CAUSES.programs)
def test_debug_registers_are_written_before(ran: Seen) -> None:
    """DR6 says why, and DR7.GD is clear, as a handler would find them."""
    CAUSES.come_to(ran, {"trap": DB, "general detect": DB})
    trap, detect = (ran.vmrun(name).after for name in ("trap", "general detect"))
    assert (trap.dr6 & BS, detect.dr6 & BD, detect.dr7 & GD) == (BS, BD, 0)


@requirement("SVM-15.12.2-004")
@executes(CAUSES.programs)
def test_trap_saves_the_next_rip(ran: Seen) -> None:
    """A #DB that is a trap saves the RIP behind the instruction."""
    CAUSES.come_to(ran, {"trap": DB})
    seen = ran.vmrun("trap")
    assert seen.after.rip == seen.before.rip + CAUSES.length("trap")


@requirement("SVM-15.12.2-003")
@executes(CAUSES.programs)
def test_int1_is_no_db(ran: Seen) -> None:
    """INT1 does not look at the intercept of #DB: it raises #GP because there is no IDT."""
    CAUSES.come_to(ran, {"INT1": GP, "trap": DB})


def with_breakpoint() -> dict[str, Program]:
    """A guest that meets an instruction breakpoint at the second of its instructions."""
    at, entry = places.VMCBS, places.DATA + 0x1_0000
    it = raises("nop", DB, before="nop", dr7=BREAK_0 | RESERVED_ONE).guest(entry)
    step = code("mov dr0, rcx\nvmrun", rax=at, rcx=entry + 1, vmcb=at, name="breakpoint")
    return {"": program(*enable_svm(), step, guests={at: it})}


@requirement("SVM-15.12.2-002")
@executes(with_breakpoint())
def test_fault_saves_the_rip_of_its_instruction(ran: Seen) -> None:
    """A #DB that is a fault, as for an instruction breakpoint, saves the RIP of that instruction."""
    CAUSES.come_to(ran, {"breakpoint": DB})
    seen = ran.vmrun("breakpoint")
    assert (seen.after.rip - seen.before.rip, seen.after.dr6 & B0) == (1, B0)
