"""Clean bits of a guest that moves: to another processor, or with its VMCB into another page (15.15)."""

from collections.abc import Callable
from itertools import pairwise

from conformance.evidence import whole_vmruns
from conformance.guest_view.test_hiding import witness
from conformance.several_guests.test_state import KINDS
from conformance.vmcb.test_clean_bits import OFFERED
from harness.boot import Boot
from harness.cases import NotRun, boots, requirement
from harness.machine.vmcb import Vmcb
from harness.observation import Event, Observation

ROUNDS = 5
PROCESSORS = Boot(guest="canary", count=ROUNDS, words=("move-processor=3",), processors=2, vmruns=60, faults=(OFFERED,))
PAGES = Boot(guest="mixed", count=ROUNDS, words=("move-vmcb=3",), vmruns=60, faults=(OFFERED,))


def starts_anew(seen: Observation, moved: Callable[[Event, Event], bool]) -> None:
    """Where the guest has moved its clean field is 0, and not at every VMRUN."""
    runs = [event for event in whole_vmruns(seen) if event.vmcb is not None]
    moves = [event for before, event in pairwise(runs) if moved(before, event)]
    if not moves:
        raise NotRun(f"the guest did not move: the machine {seen.ended}")
    for event in moves:
        clean = Vmcb(event.vmcb or b"").vmcb_clean
        assert clean == 0, (
            f"clean field {clean:#x} of the VMCB at {event.before['rax']:#x}, processor {event.processor}"
        )
    if not any(Vmcb(event.vmcb or b"").vmcb_clean for event in runs):
        raise NotRun("no clean bit was set at a VMRUN that was watched")


@requirement("SVM-15.15-021")
@boots(PROCESSORS, guest_runs=True)
def test_nothing_is_clean_on_another_processor(seen: Observation) -> None:
    """When a guest runs on another processor than the last time the whole clean field of its VMCB is 0."""
    starts_anew(seen, lambda before, event: before.processor != event.processor)
    lost = {kind: it.value for kind, it in zip(KINDS, witness(seen, *KINDS), strict=True) if it.value}
    assert not lost, f"the guest lost registers on the way, in so many of {ROUNDS} rounds: {lost}"


@requirement("SVM-15.15-022")
@boots(PAGES, guest_runs=True)
def test_nothing_is_clean_in_another_page(seen: Observation) -> None:
    """When the VMCB of a guest has moved to another physical page its whole clean field is 0."""
    starts_anew(seen, lambda before, event: before.before["rax"] != event.before["rax"])
    (done,) = witness(seen, "MIXED")
    assert done.value == ROUNDS, f"the guest went through {done.value} of {ROUNDS} rounds"
