"""Fn8000_0001_ECX[SVM] clear: the processor has no SVM."""

from conformance.evidence import svm_was_never_enabled
from harness.cases import Cpus, boots, requirement
from harness.observation import Observation


@requirement("SVM-15.4-001")
@boots(cpus=Cpus.WITHOUT_SVM, outcomes=("refused.no-svm",))
def test_refusal_names_the_missing_bit(seen: Observation) -> None:
    """Without Fn8000_0001_ECX[SVM] the hypervisor refuses, and says that this is why."""
    assert seen.outcome == "refused.no-svm"


@requirement("SVM-15.4-001")
@boots(cpus=Cpus.WITHOUT_SVM)
def test_nothing_is_enabled_without_the_bit(seen: Observation) -> None:
    """Without Fn8000_0001_ECX[SVM] EFER.SVME stays 0, no SVM instruction runs, VM_HSAVE_PA is not written."""
    svm_was_never_enabled(seen)


@requirement("SVM-15.4-001")
@boots(cpus=Cpus.FOREIGN, outcomes=("refused.vendor",))
def test_refusal_names_a_foreign_vendor(seen: Observation) -> None:
    """A processor of a vendor that never had SVM is refused for that."""
    assert seen.outcome == "refused.vendor"
    svm_was_never_enabled(seen)
