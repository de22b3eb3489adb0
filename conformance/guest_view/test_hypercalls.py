"""What a hypervisor answers a guest's VMMCALL (15.18)."""

from conformance.guest_view.test_hiding import UD, USER, witness
from harness.cases import boots, requirement
from harness.observation import Observation, Tried

DENIED = (1 << 64) - 1


@requirement("SVM-15.18-003")
@boots(USER, guest_runs=True)
def test_hypercall_of_a_user_is_denied(seen: Observation) -> None:
    """VMMCALL at CPL 3, which the processor lets through, comes back as denied or raises #UD."""
    cpl, call = witness(seen, "CPL", "VMMCALL")
    assert cpl.value == 3
    assert denied(call), f"VMMCALL came to {call}"


@requirement("SVM-15.5.1-043")
@boots(USER, guest_runs=True)
def test_cpl_is_not_taken_from_a_descriptor(seen: Observation) -> None:
    """VMMCALL in a conforming code segment, whose DPL is 0, is denied at CPL 3 all the same."""
    (call,) = witness(seen, "CONFORM")
    assert denied(call), f"VMMCALL came to {call}"


def denied(call: Tried) -> bool:
    """Whether a VMMCALL was not served."""
    return call.vector == UD or (call.vector, call.value) == (None, DENIED)
