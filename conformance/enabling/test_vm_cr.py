"""VM_CR as the processor offers it (15.30.1): the way firmware switches SVM off, without any injection."""

from conformance.vmrun.programs import GP, efer_svme
from harness.cases import Absent, executes, requirement
from harness.lab.program import Program, Step
from harness.lab.seen import Seen
from harness.lab.steps import cpuid, rdmsr, wrmsr
from harness.machine.registers import EFER_SVME
from harness.msr import CPUID_SVM, SVML, Msr, VmCr

RESERVED = tuple(1 << bit for bit in (5, 6, 7, 8, 16, 31, 32, 63))
FIRST = 1


def program(*steps: Step) -> dict[str, Program]:
    """The steps behind one that asks for Fn8000_000A."""
    return {"": Program(steps=(cpuid(CPUID_SVM), *steps))}


def has_svm_lock(ran: Seen) -> None:
    """SVMDIS may be read-only on a processor without SVM-Lock (15.30.1-010)."""
    if not ran[0].registers["rdx"] & SVML:
        raise Absent("Fn8000_000A_EDX[2] (SVML) is 0: VM_CR.SVMDIS may be read-only")


@requirement("SVM-15.30.1-001")
@executes(program(*(wrmsr(Msr.VM_CR, value) for value in RESERVED)))
def test_reserved_bits_fault(ran: Seen) -> None:
    """Writing VM_CR with any of bits 63:5 set raises #GP(0)."""
    taken = [hex(value) for n, value in enumerate(RESERVED, FIRST) if (ran[n].vector, ran[n].error) != (GP, 0)]
    assert not taken, f"no #GP(0) for {', '.join(taken)}"


@requirement("SVM-15.30.1-002", "SVM-15.4-016")
@executes(
    program(wrmsr(Msr.VM_CR, VmCr.SVMDIS), rdmsr(Msr.VM_CR), efer_svme(True), rdmsr(Msr.EFER), cpuid(0x8000_0001))
)
def test_svmdis_forbids_svme(ran: Seen) -> None:
    """With SVMDIS=1 setting EFER.SVME raises #GP(0), while CPUID goes on to report SVM."""
    has_svm_lock(ran)
    assert ran[2].value & VmCr.SVMDIS, "SVMDIS could not be set"
    assert (ran[3].vector, ran[3].error) == (GP, 0)
    assert ran[4].value & EFER_SVME == 0
    assert ran[5].registers["rcx"] & 1 << 2, "CPUID hides SVM"


@requirement("SVM-15.30.1-003")
@executes(
    program(efer_svme(True), wrmsr(Msr.VM_CR, VmCr.SVMDIS), wrmsr(Msr.VM_CR, VmCr.SVMDIS | VmCr.LOCK), rdmsr(Msr.VM_CR))
)
def test_svmdis_cannot_be_set_while_svme_is(ran: Seen) -> None:
    """Setting SVMDIS while EFER.SVME=1 raises #GP(0), with and without LOCK."""
    has_svm_lock(ran)
    assert [(ran[n].vector, ran[n].error) for n in (2, 3)] == [(GP, 0)] * 2
    assert ran[4].value & VmCr.SVMDIS == 0


@requirement("SVM-15.30.1-004", "SVM-15.30.1-011")
@executes(program(wrmsr(Msr.VM_CR, VmCr.LOCK), wrmsr(Msr.VM_CR, VmCr.SVMDIS | VmCr.R_INIT), rdmsr(Msr.VM_CR)))
def test_lock_keeps_svmdis_and_itself(ran: Seen) -> None:
    """With LOCK=1 a write to SVMDIS and LOCK is ignored without a fault, while R_INIT can be written."""
    has_svm_lock(ran)
    assert [ran[n].vector for n in (1, 2)] == [None] * 2
    assert VmCr(ran[3].value) == VmCr.LOCK | VmCr.R_INIT


@requirement("SVM-15.30.1-005")
@executes(program(wrmsr(Msr.VM_CR, VmCr.SVMDIS), rdmsr(Msr.VM_CR), wrmsr(Msr.VM_CR, 0), rdmsr(Msr.VM_CR)))
def test_svmdis_can_be_changed_while_unlocked(ran: Seen) -> None:
    """With LOCK=0 SVMDIS can be set and cleared again."""
    has_svm_lock(ran)
    assert [ran[n].vector for n in (1, 3)] == [None] * 2
    assert (ran[2].value & VmCr.SVMDIS, ran[4].value & VmCr.SVMDIS) == (VmCr.SVMDIS, 0)
