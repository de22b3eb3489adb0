"""Legal guests in every mode: what a test or a campaign starts from, and changes.

>>> from harness.model import State, judge
>>> judge(State(rax=0x1000, vmcb=guest(Mode.LONG, cr0=0x8000_0011 | 1 << 29))).because[0].why
'NW is 1 while CD is 0'
"""

from __future__ import annotations

from enum import Enum

from harness.lab.vmcb import long_mode, real_mode
from harness.machine.vmcb import Vmcb
from harness.model.registers import Cr0, Cr4, Nested, Rflags

CODE, TABLES, NESTED_TABLES = 0x8000, 0x1_0000, 0x2_0000
"""Where the guests' code and tables are taken to be: physical addresses of pages. Nothing is put there."""

WRITE_BACK = 0x0007_0406_0007_0406
"""PAT as it is after reset."""


class Mode(Enum):
    """The modes of a guest."""

    REAL = "real mode"
    PAGED_REAL = "paged real mode"
    V86 = "virtual-8086 mode"
    PROTECTED = "32-bit protected mode"
    PAGED = "32-bit protected mode with two-level paging"
    PAE = "32-bit protected mode with PAE paging"
    COMPATIBILITY = "compatibility mode"
    LONG = "64-bit mode"


_FLAT = 0xFFFF_FFFF
_CODE_32, _CODE_64, _DATA_32 = 0xC9B, 0x29B, 0xC93
_PROTECTED = Cr0.PE | Cr0.ET
_PAGED = _PROTECTED | Cr0.PG
_CHANGES: dict[Mode, dict[str, int]] = {
    Mode.REAL: {},
    Mode.PAGED_REAL: {"cr0": Cr0.ET | Cr0.PG, "cr3": TABLES, "intercept_exceptions": 1 << 14},
    Mode.V86: {"cr0": _PROTECTED, "rflags": Rflags.VM | 2, "cpl": 3},
    Mode.PROTECTED: {"cr0": _PROTECTED},
    Mode.PAGED: {"cr0": _PAGED, "cr3": TABLES},
    Mode.PAE: {"cr0": _PAGED, "cr3": TABLES, "cr4": Cr4.PAE},
    Mode.COMPATIBILITY: {"cs__attrib": _CODE_32},
    Mode.LONG: {"cs__attrib": _CODE_64},
}


def guest(mode: Mode, nested: bool = False, **changes: int) -> Vmcb:
    """A legal VMCB but for the changes (a dot in a field's name is written ``__``), with nested paging or without.

    It intercepts VMRUN and VMMCALL.
    """
    fields = dict(_CHANGES[mode])
    if mode in (Mode.PROTECTED, Mode.PAGED, Mode.PAE):
        fields |= {"cs__selector": 8, "cs__base": 0, "cs__limit": _FLAT, "cs__attrib": _CODE_32, "rip": CODE}
        fields |= {f"{name}__attrib": _DATA_32 for name in ("ss", "ds", "es")}
        fields |= {f"{name}__limit": _FLAT for name in ("ss", "ds", "es")}
    if nested:
        fields |= {"nested_control": Nested.NP_ENABLE, "n_cr3": NESTED_TABLES, "g_pat": WRITE_BACK}
    fields |= changes
    if mode in (Mode.LONG, Mode.COMPATIBILITY):
        return Vmcb(long_mode(CODE, fields.pop("cr3", TABLES), **fields))
    return Vmcb(real_mode(CODE, **fields))
