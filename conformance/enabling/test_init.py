"""What an INIT leaves of VM_CR (15.30.1)."""

from conformance.enabling.init import MEMORY, SENT
from conformance.enabling.test_vm_cr import has_svm_lock
from harness.cases import executes, requirement
from harness.lab.program import Program
from harness.lab.seen import Seen
from harness.lab.steps import code, cpuid, rdmsr, wrmsr
from harness.msr import CPUID_SVM, Msr, VmCr

LOCKED = VmCr.SVMDIS | VmCr.LOCK
PROGRAM = Program(
    regions=MEMORY,
    steps=(
        cpuid(CPUID_SVM),
        wrmsr(Msr.VM_CR, VmCr.SVMDIS),
        rdmsr(Msr.VM_CR).model_copy(update={"name": "unlocked"}),
        code(SENT, name="INIT"),
        wrmsr(Msr.VM_CR, LOCKED),
        rdmsr(Msr.VM_CR).model_copy(update={"name": "locked"}),
        code(SENT, name="INIT while locked"),
    ),
)


def after(ran: Seen, name: str, before: str, wanted: VmCr) -> VmCr:
    """VM_CR after an INIT, which was ``wanted`` before it."""
    has_svm_lock(ran)
    assert VmCr(ran[before].value) == wanted, f"{wanted!r} could not be set"
    assert ran[name].vector is None
    return VmCr(ran[name].registers["rbx"] & 0xFFFF_FFFF)


@requirement("SVM-15.30.1-007")
@executes({"": PROGRAM})
def test_init_clears_svmdis(ran: Seen) -> None:
    """An INIT clears SVMDIS while LOCK is 0."""
    assert after(ran, "INIT", "unlocked", VmCr.SVMDIS) & VmCr.SVMDIS == 0


@requirement("SVM-15.30.1-012")
@executes({"": PROGRAM})
def test_init_leaves_lock(ran: Seen) -> None:
    """An INIT leaves LOCK set."""
    assert after(ran, "INIT while locked", "locked", LOCKED) & VmCr.LOCK


@requirement("SVM-15.30.1-014")
@executes({"": PROGRAM})
def test_init_leaves_locked_svmdis(ran: Seen) -> None:
    """An INIT leaves SVMDIS set while LOCK is 1."""
    assert after(ran, "INIT while locked", "locked", LOCKED) & VmCr.SVMDIS
