"""MSR permission maps for guests, each at a place of its own (15.11)."""

from __future__ import annotations

from typing import Any

from conformance.intercepts.tried import Try, tried
from harness.lab import places
from harness.machine.msrpm import SIZE, bit
from harness.model.exits import MSR

_MAPS = places.DATA + 0x90_0000


class Maps:
    """Maps by the accesses that they intercept: an MSR, and whether it is written."""

    def __init__(self) -> None:
        self._places: dict[tuple[tuple[int, bool], ...], int] = {}

    def tried(self, msr: int, write: bool, *intercepted: tuple[int, bool], value: int = 0, **changes: Any) -> Try:
        """An access to an MSR with the map that intercepts these accesses."""
        place = _MAPS + SIZE * self._places.setdefault(intercepted, len(self._places))
        content = bytearray(SIZE)
        for number, is_write in intercepted:
            at = bit(number, write=is_write)
            assert at is not None, f"the map has no bits for {number:#x}"
            content[at // 8] |= 1 << at % 8
        insn = f"mov ecx, {msr:#x}\nmov eax, {value & 0xFFFF_FFFF:#x}\nmov edx, {value >> 32:#x}"
        access = "wrmsr" if write else "rdmsr"
        return tried(access, MSR, before=insn, having={place: bytes(content)}, msrpm_base_pa=place, **changes)
