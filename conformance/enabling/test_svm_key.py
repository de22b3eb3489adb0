"""SVM_KEY: who has the key unlocks VM_CR and switches SVM on again (15.31). No engine has the lock: it is all lies."""

from conformance.evidence import svm_was_never_enabled
from conformance.faults import svml, vm_cr
from harness.boot import Boot, Fault, Insn
from harness.cases import NotRun, boots, requirement
from harness.msr import Msr, VmCr
from harness.observation import Event, Observation

WORD = "svm-key=fedcba9876543210"
REFUSED = "refused.svm-key"
LOCKED = vm_cr(VmCr.SVMDIS | VmCr.LOCK)
TAKEN = Fault(insn=Insn.WRMSR, select=Msr.SVM_KEY, skip=True)
"""The write of the key does nothing by itself; what it leads to is told by VM_CR."""
UNLOCKED = vm_cr(VmCr.SVMDIS).model_copy(update={"since": Msr.SVM_KEY})
CLEARED = vm_cr(VmCr(0)).model_copy(update={"since": Msr.VM_CR})

FITS = Boot(name="key fits", words=(WORD,), faults=(svml(True), TAKEN, CLEARED, UNLOCKED, LOCKED))
FITS_NOT = Boot(name="key does not fit", words=(WORD,), faults=(svml(True), TAKEN, LOCKED))


def attempt(seen: Observation) -> list[Event]:
    """What came after the key was written; the case is not run when it was not."""
    written = [number for number, event in enumerate(seen.trace) if event in seen.wrote(Msr.SVM_KEY)]
    if not written:
        raise NotRun(f"no key was written to SVM_KEY: the machine {seen.ended}")
    return seen.trace[written[-1] + 1 :]


@requirement("SVM-15.31-006")
@boots(FITS, FITS_NOT, outcomes=(REFUSED,))
def test_vm_cr_is_read_after_the_key(seen: Observation) -> None:
    """After a write of SVM_KEY the next access to an MSR is a RDMSR of VM_CR."""
    after = [event for event in attempt(seen) if event.insn in (Insn.RDMSR, Insn.WRMSR)]
    assert after, f"no MSR was accessed after the key was written: the machine {seen.ended}"
    assert (after[0].insn, after[0].msr) == (Insn.RDMSR, Msr.VM_CR), f"{after[0].insn} of {after[0].msr:#x} instead"


@requirement("SVM-15.4-004")
@boots(FITS, outcomes=(REFUSED,))
def test_the_key_unlocks(seen: Observation) -> None:
    """Where the key fits it is written, then SVMDIS is cleared, and then SVM is enabled."""
    steps = [seen.first(seen.wrote(Msr.SVM_KEY)), seen.first(seen.wrote(Msr.VM_CR)), seen.first_svme()]
    done = [step for step in steps if step is not None]
    assert len(done) == len(steps) and done == sorted(done), f"SVM_KEY, VM_CR, SVME: written at {steps} in the trace"


@requirement("SVM-15.4-004")
@boots(FITS_NOT, outcomes=(REFUSED,))
def test_a_wrong_key_does_not(seen: Observation) -> None:
    """Where LOCK is still set after the key nothing is enabled, and the outcome says that the key is why."""
    assert seen.outcome == REFUSED, f"the machine {seen.ended}, outcome {seen.outcome}"
    svm_was_never_enabled(seen)
