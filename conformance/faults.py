"""Lies that several cases tell: what firmware or a processor could have set, and the engine cannot be configured to."""

from harness.boot import Fault, Insn
from harness.msr import CPUID_SVM, SVML, Msr, VmCr


def vm_cr(value: VmCr) -> Fault:
    """RDMSR of VM_CR returns exactly ``value`` in EAX."""
    return Fault(insn=Insn.RDMSR, select=Msr.VM_CR, force={"rax": (int(value), ~int(value) & 0xFFFF_FFFF)})


def svm_features(*, offered: int = 0, absent: int = 0) -> Fault:
    """These bits of CPUID Fn8000_000A_EDX are set, and those clear."""
    return Fault(insn=Insn.CPUID, select=CPUID_SVM, force={"rdx": (offered, absent)})


def svml(present: bool) -> Fault:
    """CPUID Fn8000_000A_EDX[SVML] is set or clear."""
    return Fault(insn=Insn.CPUID, select=CPUID_SVM, force={"rdx": (SVML, 0) if present else (0, SVML)})
