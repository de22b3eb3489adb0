"""SVM-Lock: VM_CR.LOCK, and the key in SVM_KEY that clears it again (15.31)."""

from conformance.vmrun.programs import GP, efer_svme
from harness.boot import Insn
from harness.cases import executes, requirement
from harness.lab.program import Program, Step
from harness.lab.seen import Seen
from harness.lab.steps import execute, rdmsr, wrmsr
from harness.machine.registers import EFER_SVME
from harness.msr import Msr, VmCr

EARLIER, KEY, WRONG = 0x0123_4567_89AB_CDEF, 0xFEDC_BA98_7654_3210, 0xFEDC_BA98_7654_3211
LOCKED = VmCr.SVMDIS | VmCr.LOCK


def named(name: str, step: Step) -> Step:
    """The same step with that name."""
    return step.model_copy(update={"name": name})


def key(value: int, name: str) -> tuple[Step, Step]:
    """Write SVM_KEY, in a step of that name, and read VM_CR in the one behind it."""
    return named(name, wrmsr(Msr.SVM_KEY, value)), named(f"VM_CR after {name}", rdmsr(Msr.VM_CR))


def vm_cr(ran: Seen, name: str) -> VmCr:
    """VM_CR after that key, whose write was no fault."""
    assert ran[name].vector is None, f"{name}: SVM_KEY cannot be written"
    return VmCr(ran[f"VM_CR after {name}"].value)


def is_locked(ran: Seen) -> None:
    """SVMDIS and LOCK could be set."""
    assert VmCr(ran["VM_CR"].value) & LOCKED == LOCKED, "SVMDIS and LOCK could not be set"


LOCK = (wrmsr(Msr.VM_CR, LOCKED), named("VM_CR", rdmsr(Msr.VM_CR)))

OFF_FOR_GOOD = Program(
    steps=(
        named("SVME before", efer_svme(True)),
        efer_svme(False),
        *LOCK,
        wrmsr(Msr.VM_CR, 0),
        named("SVME", efer_svme(True)),
        named("EFER", rdmsr(Msr.EFER)),
    )
)
WITHOUT_KEY = Program(steps=(*LOCK, *key(0, "0"), *key(KEY, "another")))
WITH_KEY = Program(
    steps=(
        *key(EARLIER, "first"),
        *key(KEY, "second"),
        *LOCK,
        *key(EARLIER, "the first again"),
        *key(WRONG, "wrong"),
        *key(0, "0"),
        *key(KEY, "right"),
        wrmsr(Msr.VM_CR, 0),
        named("VM_CR at the end", rdmsr(Msr.VM_CR)),
    )
)
WITHOUT_SVME = Program(
    steps=(
        efer_svme(False),
        named("SVM_KEY", wrmsr(Msr.SVM_KEY, KEY)),
        named("read", rdmsr(Msr.SVM_KEY)),
        execute(Insn.STGI),
    )
)


@requirement("SVM-15.31-001")
@executes({"": OFF_FOR_GOOD})
def test_locked_svmdis_keeps_svm_off(ran: Seen) -> None:
    """With SVMDIS and LOCK set EFER.SVME cannot be set, which could be before; clearing SVMDIS changes nothing."""
    is_locked(ran)
    assert ran["SVME before"].vector is None
    assert (ran["SVME"].vector, ran["SVME"].error) == (GP, 0)
    assert ran["EFER"].value & EFER_SVME == 0


@requirement("SVM-15.31-002")
@executes({"": WITH_KEY})
def test_key_can_be_set_while_unlocked(ran: Seen) -> None:
    """With LOCK=0 a write of SVM_KEY sets the key: the one that was written last unlocks, and the one before not."""
    is_locked(ran)
    assert vm_cr(ran, "the first again") & VmCr.LOCK
    assert not vm_cr(ran, "right") & VmCr.LOCK


@requirement("SVM-15.31-003")
@executes({"": WITH_KEY})
def test_key_clears_lock(ran: Seen) -> None:
    """With LOCK=1 writing the key clears LOCK, and SVMDIS can be cleared then."""
    is_locked(ran)
    assert vm_cr(ran, "right") & LOCKED == VmCr.SVMDIS
    assert not VmCr(ran["VM_CR at the end"].value) & LOCKED


@requirement("SVM-15.31-007")
@executes({"": WITH_KEY})
def test_wrong_key_is_ignored(ran: Seen) -> None:
    """With LOCK=1 writing what is not the key leaves LOCK set, without a fault, and the key still unlocks."""
    is_locked(ran)
    assert [vm_cr(ran, name) & LOCKED for name in ("wrong", "0")] == [LOCKED] * 2
    assert not vm_cr(ran, "right") & VmCr.LOCK


@requirement("SVM-15.31-004")
@executes({"": WITHOUT_KEY})
def test_without_a_key_nothing_unlocks(ran: Seen) -> None:
    """With LOCK=1 and no key set, writing SVM_KEY leaves LOCK set, be it 0 that is written."""
    is_locked(ran)
    assert [vm_cr(ran, name) & LOCKED for name in ("0", "another")] == [LOCKED] * 2


@requirement("SVM-15.31-005")
@executes({"": WITHOUT_SVME})
def test_svm_key_reads_as_0(ran: Seen) -> None:
    """SVM_KEY reads as 0 after a key was written."""
    assert (ran["SVM_KEY"].vector, ran["read"].vector, ran["read"].value) == (None, None, 0)


@requirement("SVM-15.31-008")
@executes({"": WITHOUT_SVME})
def test_svm_key_needs_no_svme(ran: Seen) -> None:
    """SVM_KEY can be written while EFER.SVME is 0."""
    assert ran["SVM_KEY"].efer & EFER_SVME == 0
    assert ran["SVM_KEY"].vector is None


@requirement("SVM-15.31-009")
@executes({"": WITHOUT_SVME})
def test_stgi_needs_no_svme_with_svm_lock(ran: Seen) -> None:
    """STGI is executed while EFER.SVME is 0."""
    stgi = ran[str(Insn.STGI)]
    assert stgi.efer & EFER_SVME == 0
    assert (stgi.vector, stgi.rip) == (None, len(Insn.STGI.opcodes[0]))
