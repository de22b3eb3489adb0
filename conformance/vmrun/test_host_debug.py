"""The host's DR6 and DR7: VMRUN loads the guest's, and #VMEXIT does not bring the host's back (15.6)."""

from harness.cases import NotRun, boots, requirement
from harness.observation import Observation

ENABLED = 0xFF
"""DR7: breakpoints 0 to 3, local and global."""


@requirement("SVM-15.6-017")
@boots(guest_runs=True)
def test_breakpoints_of_the_host_are_restored(seen: Observation) -> None:
    """A host with breakpoints enabled at the first VMRUN has them, and its DR6, again at the second."""
    first, second = seen.host, seen.host_again
    if first is None or second is None or not {"dr6", "dr7"} <= first.values.keys() & second.values.keys():
        raise NotRun("DR6 and DR7 at two VMRUNs were not told")
    if first["dr7"] & ENABLED:
        for name in ("dr7", "dr6"):
            assert first[name] == second[name], (
                f"{name} was {first[name]:#x}, and is {second[name]:#x} at the next VMRUN"
            )
