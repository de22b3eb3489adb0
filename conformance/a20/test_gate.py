"""The A20 gate of a guest that has the whole machine: the processor masks no guest-physical address (15.25.11)."""

from conformance.guest_view.test_hiding import witness
from harness.boot import Boot
from harness.cases import Cpus, boots, requirement
from harness.observation import Observation


@requirement("SVM-15.25.11-001")
@boots(Boot(guest="pc.gate"), cpus=Cpus.WITH_NPT, guest_runs=True)
def test_a_gate_that_says_off_masks(seen: Observation) -> None:
    """Whenever port 92h tells the guest that A20 is off bit 20 of its addresses is masked, and only then."""
    assert seen.outcome == "guest-finished", f"the machine {seen.ended}, outcome {seen.outcome}"
    for state in ("OFF", "ON"):
        says_on, same = (tried.value for tried in witness(seen, state, f"{state}SAME"))
        assert same == 1 - says_on, f"{state}: port 92h says {says_on}, the same memory 1 MiB apart: {same}"
