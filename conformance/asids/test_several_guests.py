"""Which ASIDs several guests have, where there are enough for all and where there are not (15.16)."""

from conformance.vmrun.test_vmcb import vmcbs
from harness.boot import Boot, Fault, Insn
from harness.cases import NotRun, boots, requirement
from harness.msr import CPUID_SVM
from harness.observation import Observation

ONE_FOR_ALL = 2
"""Of Fn8000_000A_EBX: the host has one, and all guests have the other."""

ENOUGH = Boot(name="enough", guest="canary,canary", count=5, vmruns=60)
TOO_FEW = ENOUGH.model_copy(
    update={
        "name": "one for all",
        "faults": (Fault(insn=Insn.CPUID, select=CPUID_SVM, force={"rbx": (ONE_FOR_ALL, 0xFFFF_FFFF ^ ONE_FOR_ALL)}),),
    }
)


def asids(seen: Observation) -> int:
    """Fn8000_000A_EBX as the hypervisor read it."""
    return next(event.after["rbx"] & 0xFFFF_FFFF for event in seen.executed(Insn.CPUID) if event.leaf == CPUID_SVM)


@requirement("SVM-15.5.1-037")
@boots(ENOUGH, TOO_FEW, guest_runs=True)
def test_asids_stay_below_the_limit(seen: Observation) -> None:
    """With two guests, too, every ASID is above 0 and below Fn8000_000A_EBX."""
    if len({event.before["rax"] for event, _ in vmcbs(seen)}) < 2:
        raise NotRun("VMRUNs of one guest only were watched")
    for event, vmcb in vmcbs(seen):
        assert 0 < vmcb.guest_asid < asids(seen), f"ASID {vmcb.guest_asid:#x} at {event.where}"


@requirement("SVM-15.16-005")
@boots(ENOUGH, TOO_FEW, guest_runs=True)
def test_an_asid_is_flushed_for_the_next_guest(seen: Observation) -> None:
    """Where a guest runs with an ASID that another had before, the VMRUN flushes it."""
    owner: dict[int, int] = {}
    turns = 0
    for event, vmcb in vmcbs(seen):
        guest = event.before["rax"]
        turns += guest not in owner.values()
        if owner.get(vmcb.guest_asid, guest) != guest:
            turns += 1
            assert vmcb.tlb_control in (1, 3), f"ASID {vmcb.guest_asid} was another's, no flush at {event.where}"
        owner[vmcb.guest_asid] = guest
    if turns < 2:
        raise NotRun("VMRUNs of one guest only were watched")
