"""What a hypervisor answers a guest's VMMCALL (15.18)."""

from conformance.guest_view.test_hiding import UD, USER, witness
from harness.cases import boots, requirement
from harness.observation import Observation

DENIED = (1 << 64) - 1


@requirement("SVM-15.18-003")
@boots(USER, guest_runs=True)
def test_hypercall_of_a_user_is_denied(seen: Observation) -> None:
    """VMMCALL at CPL 3, which the processor lets through, comes back as denied or raises #UD."""
    cpl, call = witness(seen, "CPL", "VMMCALL")
    assert cpl.value == 3
    assert call.vector == UD or (call.vector, call.value) == (None, DENIED), f"VMMCALL came to {call}"
