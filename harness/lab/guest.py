"""Legal guests in every mode: what a case or a campaign starts from, and changes.

>>> it = guest(Mode.LONG, "mov ecx, 7\\nvmmcall", rcx=1)
>>> it.vmcb.cr0 |= Cr0.NW
>>> it.registers
{'rcx': 1}
>>> it.memory[it.entry].hex(" ")
'b9 07 00 00 00 0f 01 d9'

The memory map of guests, and of everything that the lab puts in memory by itself, is :mod:`harness.lab.places`.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cache

from harness.lab import places
from harness.lab.assemble import assemble
from harness.lab.paging import Form, PageTables
from harness.lab.program import REGISTERS, SCRATCH_END
from harness.lab.vmcb import Draft
from harness.machine.vmcb import FIELDS
from harness.model.registers import Cr0, Cr4, Efer, Misc1, Misc2, Nested, Rflags

WRITE_BACK = 0x0007_0406_0007_0406
"""PAT as it is after reset."""

VMMCALL = bytes.fromhex("0f01d9")

_FLAT, _REAL_LIMIT = 0xFFFF_FFFF, 0xFFFF
_CODE_16, _CODE_32, _CODE_64 = 0x9B, 0xC9B, 0x29B  # present, accessed, readable; then D and G, or L
_DATA_16, _DATA_32 = 0x93, 0xC93
_DATA = ("es", "ss", "ds", "fs", "gs")


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

    @property
    def bits(self) -> int:
        """The default operand size of its code."""
        if self is Mode.LONG:
            return 64
        return 16 if self in (Mode.REAL, Mode.PAGED_REAL, Mode.V86) else 32


@dataclass
class Guest:
    """A VMCB, the memory that its guest needs, and the registers that it starts with besides those in the VMCB.

    :param entry: physical address of its first instruction.
    """

    mode: Mode
    vmcb: Draft
    memory: dict[int, bytes]
    entry: int
    registers: dict[str, int] = field(default_factory=dict)

    def having(self, memory: Mapping[int, bytes]) -> Guest:
        """The same with more memory: physical address and bytes."""
        self.memory |= memory
        return self

    def copy(self) -> Guest:
        """Another one that can be changed apart from this."""
        return Guest(self.mode, self.vmcb.copy(), dict(self.memory), self.entry, dict(self.registers))


def guest(
    mode: Mode = Mode.LONG,
    code: str | bytes = VMMCALL,
    /,
    nested: int = False,
    **changes: int,
) -> Guest:
    """A legal guest that executes ``code`` (NASM's language, or bytes) at CPL 0, but for the changes.

    It is intercepted at VMRUN, VMMCALL and shutdown (a guest that runs where it should be refused may triple-fault, and
    must not take the machine with it). Interrupts are off; it has no descriptor tables: an exception that is not
    intercepted ends in VMEXIT_SHUTDOWN. Linear addresses are physical ones, up to 32 MiB.

    :param nested: with nested paging, when true.
    :param changes: registers (``rcx=1``), and fields of the VMCB by name; a dot in a field's name is written ``__``.
    """
    source = code if isinstance(code, bytes) else code.encode()
    entry = places.CODE + zlib.crc32(source + mode.name.encode()) % places.CODES * places.PAGE
    flat = mode.bits != 16
    binary = code if isinstance(code, bytes) else assemble(code, mode.bits, org=entry if flat else 0)
    registers = {name: changes.pop(name) for name in REGISTERS if name not in ("rax", "rsp") and name in changes}
    vmcb = Draft(**_fields(mode, entry))
    memory = {entry: binary, **_tables(mode)}
    if nested:
        vmcb.update(nested_control=Nested.NP_ENABLE, n_cr3=places.NESTED_TABLES, g_pat=WRITE_BACK)
        memory |= _nested_tables()
    vmcb.update(**changes)
    return Guest(mode, vmcb, memory, entry, registers)


def _fields(mode: Mode, entry: int) -> dict[str, int]:
    """The VMCB of a legal guest that starts at the physical address ``entry``."""
    fields: dict[str, int] = {
        "intercept_misc1": Misc1.SHUTDOWN,
        "intercept_misc2": Misc2.VMRUN | Misc2.VMMCALL,
        "guest_asid": 1,
        "efer": Efer.SVME,
        "cr0": Cr0.ET,
        "dr6": 0xFFFF_0FF0,
        "dr7": 0x400,
        "rflags": 2,
    }
    if mode.bits == 16:
        fields |= {"cs.selector": entry >> 4 & 0xFFFF, "cs.base": entry, "cs.limit": _REAL_LIMIT, "cs.attrib": _CODE_16}
        fields |= {f"{name}.limit": _REAL_LIMIT for name in _DATA} | {f"{name}.attrib": _DATA_16 for name in _DATA}
        fields |= {"rsp": places.LOW_STACK}
    else:
        code = _CODE_64 if mode is Mode.LONG else _CODE_32
        fields |= {"cs.selector": 8, "cs.limit": _FLAT, "cs.attrib": code, "rip": entry, "rsp": places.STACK}
        fields |= {f"{name}.limit": _FLAT for name in _DATA} | {f"{name}.attrib": _DATA_32 for name in _DATA}
    return {name.replace(".", "__"): value for name, value in (fields | _OF_MODE[mode]).items()}


_PROTECTED = Cr0.PE | Cr0.ET
_PAGED = _PROTECTED | Cr0.PG
_LONG = {"efer": Efer.SVME | Efer.LME | Efer.LMA, "cr0": _PAGED, "cr4": Cr4.PAE, "cr3": places.LONG_TABLES}
_OF_MODE: dict[Mode, dict[str, int]] = {
    Mode.REAL: {},
    # Intercepted page faults: the manual wants it so (SVM-15.19-003).
    Mode.PAGED_REAL: {
        "cr0": Cr0.ET | Cr0.PG,
        "cr3": places.TWO_LEVEL_TABLES,
        "cr4": Cr4.PSE,
        "intercept_exceptions": 1 << 14,
    },
    Mode.V86: {
        "cr0": _PROTECTED,
        "rflags": Rflags.VM | 2,
        "cpl": 3,
        "cs.attrib": _CODE_16 | 0x60,
        **{f"{name}.attrib": _DATA_16 | 0x60 for name in _DATA},
    },
    Mode.PROTECTED: {"cr0": _PROTECTED},
    Mode.PAGED: {"cr0": _PAGED, "cr3": places.TWO_LEVEL_TABLES, "cr4": Cr4.PSE},
    Mode.PAE: {"cr0": _PAGED, "cr3": places.PAE_TABLES, "cr4": Cr4.PAE},
    Mode.COMPATIBILITY: _LONG,
    Mode.LONG: _LONG,
}


@cache
def _identity(root: int, form: Form) -> dict[int, bytes]:
    size = 1 << 22 if form is Form.TWO_LEVEL else 1 << 21
    return PageTables(root, form).identity(SCRATCH_END, size).regions


def _tables(mode: Mode) -> dict[int, bytes]:
    """The page tables that a mode needs."""
    if mode in (Mode.LONG, Mode.COMPATIBILITY):
        return _identity(places.LONG_TABLES, Form.LONG)
    if mode in (Mode.PAGED, Mode.PAGED_REAL):
        return _identity(places.TWO_LEVEL_TABLES, Form.TWO_LEVEL)
    return _identity(places.PAE_TABLES, Form.PAE) if mode is Mode.PAE else {}


def _nested_tables() -> dict[int, bytes]:
    return _identity(places.NESTED_TABLES, Form.LONG)


def fields() -> tuple[str, ...]:
    """The names of a VMCB's fields, as keywords of :func:`guest`."""
    return tuple(name.replace(".", "__") for name in FIELDS)
