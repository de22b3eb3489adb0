"""What several cases demand of an observation, each a sentence."""

from harness.boot import SVM_INSNS, Insn
from harness.cases import NotRun
from harness.msr import Msr
from harness.observation import Observation


def svm_was_never_enabled(seen: Observation) -> None:
    """No SVM instruction, EFER.SVME never written or seen as 1, VM_HSAVE_PA never written; read from outside."""
    looked_at_the_processor(seen)
    assert not seen.svm_executed(), f"executed {[f'{e.insn} at {e.where}' for e in seen.svm_executed()]}"
    assert seen.first_svme() is None, f"wrote EFER.SVME=1 at {seen.trace[seen.first_svme() or 0].where}"
    assert not seen.svme_seen(), f"EFER.SVME was 1 at {seen.svme_seen()}"
    assert not seen.wrote(Msr.VM_HSAVE_PA), f"wrote VM_HSAVE_PA at {seen.wrote(Msr.VM_HSAVE_PA)[0].where}"
    assert seen.final is not None, f"its last state could not be read: the machine {seen.ended}"
    if cut := seen.given_up(Insn.WRMSR, *SVM_INSNS):
        raise NotRun(f"what it did later was not watched: {cut[0]}")


def looked_at_the_processor(seen: Observation) -> None:
    """The case is not run when the software never came as far as a CPUID or RDMSR: nothing can be said about it."""
    if not seen.executed(Insn.CPUID, Insn.RDMSR):
        raise NotRun(f"it never looked at the processor: {seen.ended}")
