"""What the processor's registers held, read from outside by gdbstub and monitor."""

from __future__ import annotations

import re

from pydantic import BaseModel, ConfigDict

EFER_SVME = 1 << 12
EFER_LMA = 1 << 10
RFLAGS_IF = 1 << 9

GENERAL = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", *(f"r{n}" for n in range(8, 16)))
_KEPT = (*GENERAL, "rip", "eflags", "cs", "ss", "ds", "es", "cr0", "cr2", "cr3", "cr4", "efer", "dr6", "dr7")
_DEBUG = re.compile(r"\b(DR[67])=([0-9a-f]{16})")
_SEGMENT = re.compile(r"^(CS|SS|DS|ES) =[0-9a-f]{4} ([0-9a-f]{8,16}) ([0-9a-f]{8}) ([0-9a-f]{8})", re.M)
_ATTRIBUTES = 0xF0FF
_TABLE = re.compile(r"^(GDT|IDT|TR |LDT) ?= *(?:[0-9a-f]{4} )?([0-9a-f]{8,16}) ([0-9a-f]{8})", re.M)


class Registers(BaseModel):
    """General, control and table registers at one moment; 64-bit numbers by GDB's lower-case names.

    ``tables`` holds base and limit of GDT, IDT, LDT and TR where the engine's monitor tells them. So does ``loaded`` of
    CS, SS, DS and ES what the processor holds of them: base, limit in bytes, and bits 55:40 of the descriptor without
    those of the limit.
    """

    model_config = ConfigDict(frozen=True)

    values: dict[str, int]
    tables: dict[str, tuple[int, int]] = {}
    loaded: dict[str, tuple[int, int, int]] = {}

    @classmethod
    def of(cls, all_registers: dict[str, int], monitor: str = "") -> Registers:
        """From what the gdbstub describes, and ``info registers`` of QEMU's monitor."""
        tables = {m[1].strip().lower(): (int(m[2], 16), int(m[3], 16)) for m in _TABLE.finditer(monitor)}
        values = all_registers | {m[1].lower(): int(m[2], 16) for m in _DEBUG.finditer(monitor)}
        loaded = {
            m[1].lower(): (int(m[2], 16), int(m[3], 16), int(m[4], 16) >> 8 & _ATTRIBUTES)
            for m in _SEGMENT.finditer(monitor)
        }
        return cls(values={name: values[name] for name in _KEPT if name in values}, tables=tables, loaded=loaded)

    def __getitem__(self, name: str) -> int:
        return self.values[name]

    @property
    def rip(self) -> int:
        """The instruction pointer."""
        return self.values["rip"]

    @property
    def cpl(self) -> int:
        """The current privilege level: the low two bits of CS outside real mode."""
        return self.values.get("cs", 0) & 3

    @property
    def svme(self) -> bool:
        """EFER.SVME. Engines whose stub does not tell EFER raise :class:`KeyError`."""
        return bool(self.values["efer"] & EFER_SVME)
