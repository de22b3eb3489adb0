"""The order of 15.4: every check comes before EFER.SVME is set.

That Fn8000_0001_ECX[SVM] is looked at is judged by what happens without it (``test_svm_bit.py``): boot code reads that
leaf too, for long mode, so its being read proves nothing.
"""

from harness.boot import Insn
from harness.cases import NotRun, boots, requirement
from harness.msr import CPUID_SVM, Msr
from harness.observation import Event, Observation


def before_enabling(seen: Observation) -> list[Event]:
    """What was executed before the first WRMSR that sets EFER.SVME."""
    enabled = seen.first_svme()
    if enabled is None:
        raise NotRun(f"EFER.SVME was never set: the machine {seen.ended}")
    return seen.trace[:enabled]


@requirement("SVM-15.4-002")
@boots()
def test_vm_cr_is_read_first(seen: Observation) -> None:
    """VM_CR is read before EFER.SVME is set."""
    read = [e for e in before_enabling(seen) if e.insn is Insn.RDMSR and e.msr == Msr.VM_CR]
    assert read, "EFER.SVME was set and VM_CR had not been read"


@requirement("SVM-15.4-015")
@boots()
def test_features_are_read_first(seen: Observation) -> None:
    """Fn8000_000A (revision, ASIDs, features) is read before EFER.SVME is set."""
    read = [e for e in before_enabling(seen) if e.insn is Insn.CPUID and e.leaf == CPUID_SVM]
    assert read, "EFER.SVME was set and Fn8000_000A had not been read"
