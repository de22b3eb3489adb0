"""Fn8000_000A_EDX[NP] clear, and a guest that is to have a whole machine: that takes nested paging."""

from conformance.evidence import svm_was_never_enabled
from harness.boot import Boot, Fault, Insn
from harness.cases import Cpus, boots, requirement
from harness.observation import Observation

NP = 1 << 0
WITHOUT = Boot(guest="pc.halt", faults=(Fault(insn=Insn.CPUID, select=0x8000_000A, force={"rdx": (0, NP)}),))


@requirement("SVM-15.4-001")
@boots(WITHOUT, cpus=Cpus.WITH_NPT, outcomes=("refused.no-nested-paging",))
def test_refusal_names_the_missing_nested_paging(seen: Observation) -> None:
    """A guest that needs nested paging where CPUID offers none is refused for that, and nothing is enabled."""
    assert seen.outcome == "refused.no-nested-paging", f"the machine {seen.ended}, outcome {seen.outcome}"
    svm_was_never_enabled(seen)
