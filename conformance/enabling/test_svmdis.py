"""VM_CR.SVMDIS set: firmware has switched SVM off. Where an engine has no VM_CR (TCG), its value is injected."""

from conformance.evidence import looked_at_the_processor, svm_was_never_enabled
from conformance.faults import svml, vm_cr
from harness.boot import Boot
from harness.cases import boots, requirement
from harness.msr import Msr, VmCr
from harness.observation import Observation

FIRMWARE = (
    Boot(name="unlocked", faults=(vm_cr(VmCr.SVMDIS), svml(False))),
    Boot(name="locked", faults=(vm_cr(VmCr.SVMDIS | VmCr.LOCK), svml(False))),
)
WITH_KEY = (
    Boot(name="unlocked+svml", faults=(vm_cr(VmCr.SVMDIS), svml(True))),
    Boot(name="locked+svml", faults=(vm_cr(VmCr.SVMDIS | VmCr.LOCK), svml(True))),
)


@requirement("SVM-15.4-003")
@boots(*FIRMWARE, outcomes=("refused.svm-disabled-by-firmware",))
def test_without_svml_it_is_off_for_good(seen: Observation) -> None:
    """SVMDIS=1 and SVML=0: disabled by firmware and not unlockable, with and without LOCK."""
    assert seen.outcome == "refused.svm-disabled-by-firmware"


@requirement("SVM-15.4-004")
@boots(*WITH_KEY, outcomes=("refused.svm-disabled-with-key",))
def test_with_svml_a_key_may_unlock_it(seen: Observation) -> None:
    """SVMDIS=1 and SVML=1: disabled, but whoever has the key may unlock it."""
    assert seen.outcome == "refused.svm-disabled-with-key"


@requirement("SVM-15.4-003", "SVM-15.4-004")
@boots(*FIRMWARE, *WITH_KEY)
def test_nothing_is_enabled_while_it_is_set(seen: Observation) -> None:
    """With SVMDIS=1 EFER.SVME stays 0, no SVM instruction runs, VM_HSAVE_PA is not written."""
    looked_at_the_processor(seen)
    assert seen.read(Msr.VM_CR), "VM_CR was never read: SVMDIS cannot have been looked at"
    svm_was_never_enabled(seen)


@requirement("SVM-15.4-002")
@boots(Boot(name="others", faults=(vm_cr(VmCr.LOCK | VmCr.DIS_A20M | VmCr.R_INIT | VmCr.DPD),)))
def test_other_bits_do_not_forbid_svm(seen: Observation) -> None:
    """With every bit of VM_CR set but SVMDIS, SVM may be enabled, and is."""
    looked_at_the_processor(seen)
    assert seen.read(Msr.VM_CR), "VM_CR was never read"
    assert seen.first_svme() is not None, f"EFER.SVME was never set: the machine {seen.ended}"
