"""The bits of registers and VMCB fields that VMRUN's rules look at, by the manual's names.

They are plain numbers (``IntEnum``), since combining those of ``IntFlag`` costs a campaign more than all rules do.
"""

from __future__ import annotations

from enum import IntEnum


class Cr0(IntEnum):
    """CR0 (vol. 2, 3.1.1)."""

    PE, MP, EM, TS, ET, NE = (1 << n for n in range(6))
    WP = 1 << 16
    AM = 1 << 18
    NW = 1 << 29
    CD = 1 << 30
    PG = 1 << 31


class Cr4(IntEnum):
    """CR4 (vol. 2, 3.1.3)."""

    VME, PVI, TSD, DE, PSE, PAE, MCE, PGE, PCE, OSFXSR, OSXMMEXCPT, UMIP, LA57 = (1 << n for n in range(13))
    FSGSBASE = 1 << 16
    PCIDE = 1 << 17
    OSXSAVE = 1 << 18
    SMEP = 1 << 20
    SMAP = 1 << 21
    PKE = 1 << 22
    CET = 1 << 23


class Efer(IntEnum):
    """EFER (vol. 2, 3.1.7)."""

    SCE = 1 << 0
    LME = 1 << 8
    LMA = 1 << 10
    NXE = 1 << 11
    SVME = 1 << 12
    LMSLE = 1 << 13
    FFXSR = 1 << 14
    TCE = 1 << 15
    MCOMMIT = 1 << 17
    INTWB = 1 << 18
    UAIE = 1 << 20
    AIBRSE = 1 << 21


class Rflags(IntEnum):
    """RFLAGS (vol. 2, 3.1.6), as far as it matters here."""

    TF = 1 << 8
    IF = 1 << 9
    NT = 1 << 14
    RF = 1 << 16
    VM = 1 << 17


class Attrib(IntEnum):
    """A segment's attributes as the VMCB has them (SVM-15.5.1-038)."""

    P = 1 << 7
    L = 1 << 9
    D = 1 << 10


class Misc1(IntEnum):
    """``intercept_misc1``, offset 00Ch; the other bits are in :mod:`harness.model.intercepts`."""

    INTR, NMI, SMI, INIT, VINTR, CR0_SEL_WRITE = (1 << n for n in range(6))
    IOIO_PROT = 1 << 27
    MSR_PROT = 1 << 28
    SHUTDOWN = 1 << 31


class Misc2(IntEnum):
    """``intercept_misc2``, offset 010h, likewise."""

    VMRUN, VMMCALL, VMLOAD, VMSAVE, STGI, CLGI, SKINIT, RDTSCP = (1 << n for n in range(8))


class Vintr(IntEnum):
    """``vintr``, offset 060h: the single bits of it (15.21, 15.29, 15.33.2)."""

    V_IRQ = 1 << 8
    V_GIF = 1 << 9
    V_NMI = 1 << 11
    V_NMI_MASK = 1 << 12
    V_IGN_TPR = 1 << 20
    V_INTR_MASKING = 1 << 24
    V_GIF_ENABLE = 1 << 25
    V_NMI_ENABLE = 1 << 26
    X2AVIC_ENABLE = 1 << 30
    AVIC_ENABLE = 1 << 31


class Nested(IntEnum):
    """``nested_control``, offset 090h (15.25.3)."""

    NP_ENABLE, SEV, SEV_ES, GMET, SSS_CHECK, VTE, ROGPT, INVLPGB = (1 << n for n in range(8))


class Virt(IntEnum):
    """``virt_enables``, offset 0B8h."""

    LBR, VMLOAD_VMSAVE, IBS, PMC = (1 << n for n in range(4))


class Event(IntEnum):
    """EVENTINJ and EXITINTINFO (15.20, 15.7.2); bits 10:8 are the type, 7:0 the vector, 63:32 the error code."""

    EV = 1 << 11
    V = 1 << 31


NAMES: dict[str, type[IntEnum]] = {
    "cr0": Cr0,
    "cr4": Cr4,
    "efer": Efer,
    "rflags": Rflags,
    "cs.attrib": Attrib,
    "intercept_misc1": Misc1,
    "intercept_misc2": Misc2,
    "vintr": Vintr,
    "nested_control": Nested,
    "virt_enables": Virt,
    "eventinj": Event,
}
"""Which field has which bits. The host's registers are called ``host.cr0`` and so on."""


def name(field: str, bit: int) -> str:
    """What a bit (its number) of a field is called; empty when it has no name."""
    flags = NAMES.get(field.removeprefix("host."))
    if flags is None:
        return ""
    return next((flag.name for flag in flags if flag == 1 << bit), "")
