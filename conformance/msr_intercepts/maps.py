"""MSR permission maps for guests, each at a place of its own (15.11)."""

from __future__ import annotations

from typing import Any

from conformance.intercepts.tried import Try, tried
from harness.lab import places
from harness.model.exits import MSR

SIZE = 0x2000
_RANGES = {0: 0, 0xC000_0000: 0x800, 0xC001_0000: 0x1000}
"""The first MSR of each range of 2000h: offset in the map."""

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
            first = next(first for first in _RANGES if first <= number < first + 0x2000)
            bit = 8 * _RANGES[first] + 2 * (number - first) + is_write
            content[bit // 8] |= 1 << bit % 8
        insn = f"mov ecx, {msr:#x}\nmov eax, {value & 0xFFFF_FFFF:#x}\nmov edx, {value >> 32:#x}"
        access = "wrmsr" if write else "rdmsr"
        return tried(access, MSR, before=insn, having={place: bytes(content)}, msrpm_base_pa=place, **changes)
