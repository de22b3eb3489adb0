"""TLB_CONTROL: when a hypervisor must flush, and how; judged by the VMCB at #VMEXIT and at its next VMRUN."""

from conformance.evidence import Between, between_vmruns, reported_svm_features
from conformance.faults import svm_features
from conformance.vmrun.test_vmcb import vmcbs
from harness.boot import Boot
from harness.cases import NotRun, boots, requirement
from harness.model import exits
from harness.model.registers import Cr0, Cr4, Efer
from harness.observation import Observation

NP, FLUSH_BY_ASID = 1 << 0, 1 << 6
NOTHING, ALL, GUEST, NON_GLOBAL = 0, 1, 3, 7
CR3_WRITE = exits.CR_WRITE + 3
"""What #VMEXIT says of an intercepted MOV to CR3."""

CHANGES_MODES = Boot(guest="long64", any_guest=True, vmruns=100)
CHANGES_TABLES = Boot(guest="lengths", any_guest=True, faults=(svm_features(absent=NP),))
BY_ASID = Boot(guest="long64", any_guest=True, faults=(svm_features(offered=FLUSH_BY_ASID),))

PAGING = {
    "cr0": Cr0.PG | Cr0.WP | Cr0.CD | Cr0.NW,
    "cr3": (1 << 64) - 1,
    "cr4": Cr4.PGE | Cr4.PAE | Cr4.PSE,
    "efer": Efer.NXE | Efer.LMA | Efer.LME,
}
"""What of the guest's registers translations depend on."""


def flushes(one: Between) -> bool:
    """Whether the guest begins with no translations: flushed, or with another ASID."""
    return one.before.tlb_control != NOTHING or one.before.guest_asid != one.after.guest_asid


@requirement("SVM-15.16-003")
@boots(CHANGES_MODES, guest_runs=True)
def test_another_paging_mode_needs_a_flush(seen: Observation) -> None:
    """Where the hypervisor changed what the guest's paging depends on it flushes, or gives another ASID."""
    told = [
        (one, name)
        for one in between_vmruns(seen)
        for name, mask in PAGING.items()
        if (one.before[name] ^ one.after[name]) & mask
    ]
    if not told:
        raise NotRun("the hypervisor changed no paging mode at a VMRUN that was watched")
    for one, name in told:
        assert flushes(one), f"{name} {one.after[name]:#x} -> {one.before[name]:#x} without a flush at {one.where}"


@requirement("SVM-15.16.1-007")
@boots(CHANGES_TABLES, guest_runs=True)
def test_an_intercepted_flush_is_made_up_for(seen: Observation) -> None:
    """After an intercepted MOV to CR3 or INVLPG that was carried out the hypervisor flushes, or gives another ASID."""
    done = [
        one
        for one in between_vmruns(seen)
        if one.after.exitcode in (CR3_WRITE, exits.INVLPG) and one.before.rip != one.after.rip
    ]
    if not done:
        raise NotRun("neither MOV to CR3 nor INVLPG was intercepted at a VMRUN that was watched")
    for one in done:
        assert flushes(one), f"{exits.name(one.after.exitcode)} at {one.after.rip:#x}, and no flush at {one.where}"


@requirement("SVM-15.16.1-006")
@boots()
def test_only_defined_encodings_are_used(seen: Observation) -> None:
    """TLB_CONTROL is 0 or 1, or 3 or 7 where Fn8000_000A_EDX[FlushByAsid] is reported, at every VMRUN."""
    by_asid = reported_svm_features(seen) & FLUSH_BY_ASID
    legal = {NOTHING, ALL} | ({GUEST, NON_GLOBAL} if by_asid else set())
    for event, vmcb in vmcbs(seen):
        assert vmcb.tlb_control in legal, f"TLB_CONTROL is {vmcb.tlb_control} at {event.where}"


@requirement("SVM-15.16.1-011")
@boots(BY_ASID, guest_runs=True)
def test_others_keep_their_translations(seen: Observation) -> None:
    """With Fn8000_000A_EDX[FlushByAsid] no VMRUN but the first flushes every ASID's translations."""
    later = between_vmruns(seen)
    if not any(one.before.tlb_control for one in later):
        raise NotRun("nothing was flushed at a VMRUN that was watched")
    for one in later:
        assert one.before.tlb_control != ALL, f"all translations are flushed at {one.where}"
