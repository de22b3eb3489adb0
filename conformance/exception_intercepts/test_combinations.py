"""Exceptions on the way to the handler of another, and INTn, which is none (15.12, 15.12.9)."""

from conformance.exception_intercepts.guests import BP, DE, DF, ELSEWHERE, GP, IDT_NOWHERE, PF, UD, raises
from conformance.intercepts.tried import NOWHERE, Tries, without
from harness.cases import executes, requirement
from harness.lab.seen import Seen
from harness.model import exits

TWICE = Tries(
    {
        "#DE without an IDT": raises("div cl", GP),
        "#DE without an IDT, both": raises("div cl", DF, GP),
        "#DE without an IDT, #DF alone": raises("div cl", DF),
        "#PF with the IDT nowhere": raises("mov al, [rcx]", DF, rcx=NOWHERE, **IDT_NOWHERE),
        **{f"INT {code - DE}": raises(f"int {code - DE}", code, GP) for code in (DE, UD, PF)},
        "INT 3 as INTn": raises("db 0xCD, 3", BP, GP),
        "#DE": raises("div cl", DE, GP),
    }
)


@requirement("SVM-15.12-004")
@executes(TWICE.programs)
def test_second_exception_is_checked_before_they_combine(ran: Seen) -> None:
    """#GP while #DE is delivered exits as #GP when that is intercepted, be #DF intercepted or not."""
    both = "#DE without an IDT, both"
    TWICE.come_to(ran, {"#DE without an IDT": GP, both: GP, without(both): exits.SHUTDOWN})


@requirement("SVM-15.12-006")
@executes(TWICE.programs)
def test_double_fault_is_checked(ran: Seen) -> None:
    """The #DF that both combine to exits when only that is intercepted; else it is delivered, here in vain."""
    alone = "#DE without an IDT, #DF alone"
    TWICE.come_to(ran, {alone: DF, without(alone): exits.SHUTDOWN})


@requirement("SVM-15.12.9-002")
@executes(TWICE.programs)
def test_cr2_is_written_before_df(ran: Seen) -> None:
    """Two #PF that combine have written CR2 when #DF exits: it is the address of one of them."""
    name = "#PF with the IDT nowhere"
    TWICE.come_to(ran, {name: DF})
    gate = ELSEWHERE + 16 * (PF - exits.EXCEPTION)
    assert ran.vmrun(name).after.cr2 in (NOWHERE, *range(gate, gate + 16)), f"CR2 is {ran.vmrun(name).after.cr2:#x}"


@requirement("SVM-15.12-003")
@executes(TWICE.programs)
def test_intn_is_no_exception(ran: Seen) -> None:
    """INTn with the vector of an exception does not look at its intercept: it raises #GP, for there is no IDT."""
    names = [f"INT {code - DE}" for code in (DE, UD, PF)] + ["INT 3 as INTn"]
    TWICE.come_to(ran, dict.fromkeys(names, GP) | {"#DE": DE})
