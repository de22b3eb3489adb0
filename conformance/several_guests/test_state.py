"""What a guest finds again after another had its turn: its own registers (15.5.1)."""

from harness.boot import Boot
from harness.cases import NotRun, boots, requirement
from harness.observation import Observation, Tried

ROUNDS = 5
TURNS = Boot(guest="canary,canary", count=ROUNDS, vmruns=400)
KINDS = ("GENERAL", "VECTORS", "X87", "DEBUG", "MSRS")


def witnesses(seen: Observation) -> list[dict[str, Tried]]:
    """What each of the two guests saw; the case is not run when one left no word."""
    found = [guest.witness for guest in seen.guests if "ROUNDS" in guest.witness]
    if len(found) < 2 or any(one["ROUNDS"].value != ROUNDS for one in found):
        raise NotRun(f"{len(found)} guests went through all their rounds: the machine {seen.ended}")
    return found


@requirement("SVM-15.5.1-017")
@boots(TURNS, guest_runs=True)
def test_what_vmrun_leaves_alone_is_switched(seen: Observation) -> None:
    """General registers, XMM, x87, DR0 to DR3 and what VMLOAD loads are each guest's own, turn after turn."""
    for number, saw in enumerate(witnesses(seen)):
        lost = {kind: saw[kind].value for kind in KINDS if saw[kind].value}
        assert not lost, f"guest {number} found others in so many of {ROUNDS} rounds: {lost}"
