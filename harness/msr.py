"""The model-specific registers that SVM is about (APM vol. 2, appendix A)."""

from __future__ import annotations

from enum import IntEnum, IntFlag


class Msr(IntEnum):
    """MSR numbers."""

    TSC = 0x10
    PAT = 0x277
    EFER = 0xC000_0080
    TSC_RATIO = 0xC000_0104
    SYSCFG = 0xC001_0010
    HWCR = 0xC001_0015
    SMM_BASE = 0xC001_0111
    SMM_ADDR = 0xC001_0112
    SMM_MASK = 0xC001_0113
    VM_CR = 0xC001_0114
    IGNNE = 0xC001_0115
    SMM_CTL = 0xC001_0116
    VM_HSAVE_PA = 0xC001_0117
    SVM_KEY = 0xC001_0118
    SMM_KEY = 0xC001_0119
    VMPAGE_FLUSH = 0xC001_011E
    SEV_STATUS = 0xC001_0131


class SmmCtl(IntFlag):
    """Bits of SMM_CTL (15.30.3)."""

    DISMISS = 1 << 0
    ENTER = 1 << 1
    SMI_CYCLE = 1 << 2
    EXIT = 1 << 3
    RSM_CYCLE = 1 << 4


class VmCr(IntFlag):
    """Bits of VM_CR (15.30.1)."""

    DPD = 1 << 0
    R_INIT = 1 << 1
    DIS_A20M = 1 << 2
    LOCK = 1 << 3
    SVMDIS = 1 << 4


SMM_LOCK = 1 << 0
"""HWCR[SmmLock]: what configures SMM cannot be written (15.32)."""

MEM_ENCRYPTION = 1 << 23
"""SYSCFG[MemEncryptionModEn]: memory encryption, and with it SEV, can be used (15.34.3)."""

CPUID_SVM = 0x8000_000A
"""The leaf of SVM revision and features."""

SVML = 1 << 2
"""Fn8000_000A_EDX[SVML]: SVM can be locked with a key."""
