"""Last-branch records without their virtualization: VMRUN and #VMEXIT do not switch them (15.23)."""

from conformance.faults import svm_features
from harness.boot import Boot, Insn
from harness.cases import Cpus, NotRun, boots, requirement
from harness.machine.msrpm import intercepts
from harness.machine.vmcb import Vmcb
from harness.model.registers import Misc1
from harness.observation import Observation

DEBUG_CTL, RECORDS = 0x1D9, range(0x1DB, 0x1DF)
LBR = 1 << 1
"""Of Fn8000_000A_EDX, and enabled by bit 0 of the VMCB's virtualization field."""

SMALL = Boot(name="small guest", guest="mixed", count=5, any_guest=True, faults=(svm_features(absent=LBR),))
WHOLE = Boot(name="whole machine", guest="pc.exits", count=5, any_guest=True, faults=(svm_features(absent=LBR),))


def shared(seen: Observation) -> list[int]:
    """Which of these registers a guest can use, or could before, without that the hypervisor moves them."""
    if seen.vmcb is None or seen.msrpm is None:
        raise NotRun("no MSR permission map was seen")
    vmcb, msrpm = Vmcb(seen.vmcb), seen.msrpm
    if vmcb.virt_enables & 1:
        raise NotRun("the VMCB enables LBR virtualization though CPUID offers none: another case is about that")
    closed = bool(vmcb.intercept_misc1 & Misc1.MSR_PROT)
    moved = {event.msr for event in seen.executed(Insn.RDMSR)} & {event.msr for event in seen.executed(Insn.WRMSR)}
    return [
        msr
        for msr in (DEBUG_CTL, *RECORDS)
        if msr not in moved and not (closed and all(intercepts(msrpm, msr, write=write) for write in (False, True)))
    ]


@requirement("SVM-15.23-001")
@boots(SMALL, WHOLE, cpus=Cpus.WITH_NPT, guest_runs=True)
def test_branch_records_are_the_guests_own_or_out_of_reach(seen: Observation) -> None:
    """Without LBR virtualization DebugCtl and the four records are intercepted, or the hypervisor moves them itself."""
    assert not (open_ := shared(seen)), f"host and guest share {', '.join(map(hex, open_))}"
