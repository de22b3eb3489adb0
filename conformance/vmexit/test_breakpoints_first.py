"""Breakpoints on an instruction that is intercepted (15.7): they are checked before the intercept."""

from conformance.exception_intercepts.guests import DB
from conformance.intercepts.tried import HERE, Tries, tried
from conformance.vmrun.visits import A_WHILE
from harness.cases import executes, requirement
from harness.lab.seen import Seen
from harness.model.exits import CPUID

ENABLED, OFF = 1 << 1 | 1 << 10, 1 << 10
"""DR7: the breakpoint of DR0, for execution of the instruction there."""

WRITES_OF_4_BYTES = 1 << 16 | 3 << 18


def sets(what: str, dr7: int) -> str:
    """The guest's code that puts DR0 there, and DR7."""
    return f"{A_WHILE}lea rax, [{what}]\nmov dr0, rax\nmov eax, {dr7:#x}\nmov dr7, rax\n"


STORES = f"mov [{HERE:#x}], eax"
ON_INSTRUCTIONS = Tries(
    {
        "instruction": tried("cpuid", CPUID, DB, before=sets("rel here", ENABLED) + "here:", endless=True),
        "no instruction": tried("cpuid", CPUID, DB, before=sets("rel here", OFF) + "here:", endless=True),
    }
)
ON_DATA = Tries(
    {
        "store": tried(
            "cpuid", CPUID, DB, before=sets(f"{HERE:#x}", ENABLED | WRITES_OF_4_BYTES) + STORES, endless=True
        ),
        "other store": tried(
            "cpuid", CPUID, DB, before=sets(f"{HERE + 8:#x}", ENABLED | WRITES_OF_4_BYTES) + STORES, endless=True
        ),
    }
)


@requirement("SVM-15.7-005")
@executes(ON_INSTRUCTIONS.programs)
def test_instruction_breakpoint_comes_first(ran: Seen) -> None:
    """An intercepted CPUID with a breakpoint on it exits with the #DB, and without one with its own code."""
    ON_INSTRUCTIONS.exit(ran, DB, "instruction")
    ON_INSTRUCTIONS.exit(ran, CPUID, "no instruction")


@requirement("SVM-15.7-007")
@executes(ON_DATA.programs)
def test_data_breakpoint_comes_first(ran: Seen) -> None:
    """An intercepted CPUID behind a store that is watched exits with the #DB, else with its own code."""
    ON_DATA.exit(ran, DB, "store")
    ON_DATA.exit(ran, CPUID, "other store")
