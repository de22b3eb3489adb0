"""STGI and CLGI of a guest that may execute them: they act on GIF itself (15.17)."""

from conformance.intercepts.tried import GOES_ON
from conformance.interrupt_intercepts.guests import (
    LINGERS,
    NOBODY,
    TAKES,
    VECTOR,
    ends,
    interruptible,
    pending,
    progress,
    sent,
)
from conformance.vmrun.visits import Visit, visits
from harness.cases import executes, requirement
from harness.lab.seen import Seen
from harness.model import exits

CLGI, STI_NOP, STGI = "clgi\n", "sti\nnop\nnop\n", "stgi\nnop\nnop\n"
BEHIND_STI, BEHIND_STGI = 2, 3 + 3 + 3
"""Where the interrupt can come first: without CLGI, and with it."""

CODES = {
    "held, then taken": CLGI + STI_NOP + STGI + LINGERS,
    "held to the end": CLGI + STI_NOP + LINGERS,
    "never held": STI_NOP + LINGERS,
}
WAITS = sent(0x4000 + VECTOR)
GUESTS = visits(
    {f"physical, {name}": Visit(interruptible(code, flags=0), WAITS, TAKES) for name, code in CODES.items()}
    | {f"virtual, {name}": Visit(pending(code, flags=0)) for name, code in CODES.items()}
)


def is_held_until_stgi(ran: Seen, kind: str, code: int) -> None:
    """With CLGI before its STI the guest exits behind the STGI or not at all, and without behind the STI."""
    for name, place in {"never held": BEHIND_STI, "held, then taken": BEHIND_STGI}.items():
        assert hex(ran.vmrun(f"{kind}, {name}").after.exitcode) == hex(code), name
        assert progress(ran, f"{kind}, {name}") >= place, name
    assert ran.vmrun(f"{kind}, held to the end").after.exitcode == GOES_ON


@requirement("SVM-15.17-013")
@executes(GUESTS)
def test_guest_holds_interrupts_with_clgi(ran: Seen) -> None:
    """A guest's CLGI holds the exit of an interrupt back until its STGI; without STGI the host takes it."""
    is_held_until_stgi(ran, "physical", exits.INTR)
    assert ends(ran, "physical, held to the end") == (GOES_ON, VECTOR)


@requirement("SVM-15.17-016")
@executes(GUESTS)
def test_virtual_interrupt_is_held(ran: Seen) -> None:
    """With GIF=0 a virtual interrupt waits though the guest's IF is 1: it comes behind the guest's STGI."""
    is_held_until_stgi(ran, "virtual", exits.VINTR)
    assert ends(ran, "virtual, held to the end") == (GOES_ON, NOBODY)
