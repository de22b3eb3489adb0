"""Page tables for guests and hosts, as regions of a program (vol. 2, 5.2 and 5.3; nested ones 15.25).

>>> tables = PageTables(0x1200000).identity(0x200000)
>>> tables.map(0x400000, 0x1234000, flags=Page.P | Page.RW)
PageTables(root=0x1200000, 4 tables)
>>> hex(tables.entry(0x400000))
'0x1234003'
>>> [hex(entry) for entry in tables.path(0x400000)]
['0x1200000', '0x1201000', '0x1202010', '0x1203000']
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum


class Page(IntEnum):
    """Bits of a page-table entry (vol. 2, 5.4)."""

    P, RW, US, PWT, PCD, A, D, PS, G = (1 << n for n in range(9))
    NX = 1 << 63


FLAGS = Page.P | Page.RW | Page.US
"""Present, writable, for all privilege levels: also what nested tables need, whose walks are a user's (15.25.5)."""

SMALL, LARGE, HUGE = 1 << 12, 1 << 21, 1 << 30

_PAGE = 0x1000
_ADDRESS = 0x000F_FFFF_FFFF_F000


@dataclass(frozen=True)
class _Shape:
    """Where each level's index begins in a linear address, from the root; its bits; an entry's bytes."""

    shifts: tuple[int, ...]
    bits: tuple[int, ...]
    entry: int


class Form(Enum):
    """The forms of page tables."""

    LONG = _Shape((39, 30, 21, 12), (9, 9, 9, 9), 8)
    PAE = _Shape((30, 21, 12), (2, 9, 9), 8)
    TWO_LEVEL = _Shape((22, 12), (10, 10), 4)


class PageTables:
    """Tables under construction, from a physical address on, a page each; :attr:`regions` are their bytes.

    :param flags: of the entries that lead to tables.
    """

    def __init__(self, root: int, form: Form = Form.LONG, flags: int = FLAGS) -> None:
        self.root = root
        self._form = form.value
        self._pae = form is Form.PAE
        self._flags = flags
        self._tables: dict[int, bytearray] = {root: bytearray(_PAGE)}

    def map(self, linear: int, physical: int, size: int = SMALL, flags: int = FLAGS) -> PageTables:
        """Map a page; raise :class:`ValueError` for a size that these tables do not have."""
        sizes = [1 << shift for shift in self._form.shifts]
        if size not in sizes:
            raise ValueError(f"these tables have no pages of {size:#x} bytes")
        table = self.root
        for depth, shift in enumerate(self._form.shifts):
            if 1 << shift == size:
                large = Page.PS if size > SMALL else 0
                self._write(table, depth, linear, physical | flags | large)
                return self
            below = self._read(table, depth, linear)
            if not below & Page.P:
                below = self._new_table() | (Page.P if self._pae and depth == 0 else self._flags)
                self._write(table, depth, linear, below)
            table = below & _ADDRESS
        raise AssertionError("unreachable")

    def identity(self, end: int, size: int = LARGE, flags: int = FLAGS) -> PageTables:
        """Map physical memory up to ``end`` to itself."""
        for address in range(0, end, size):
            self.map(address, address, size, flags)
        return self

    def entry(self, linear: int) -> int:
        """The last entry of the walk for an address; 0 when there is none."""
        _, _, value = self._last(linear)
        return value

    def address_of_entry(self, linear: int) -> int:
        """The physical address of that entry."""
        return self.path(linear)[-1]

    def path(self, linear: int) -> tuple[int, ...]:
        """The physical addresses of all entries of the walk, from the root's to that one."""
        found: list[int] = []
        table = self.root
        for depth, shift in enumerate(self._form.shifts):
            found.append(table + self._index(depth, linear) * self._form.entry)
            value = self._read(table, depth, linear)
            if not value & Page.P or value & Page.PS or shift == 12:
                break
            table = value & _ADDRESS
        return tuple(found)

    def change(self, linear: int, value: int) -> PageTables:
        """Put another value in place of that entry."""
        table, depth, _ = self._last(linear)
        self._write(table, depth, linear, value)
        return self

    @property
    def regions(self) -> dict[int, bytes]:
        """Every table's page."""
        return {address: bytes(table) for address, table in self._tables.items()}

    def _last(self, linear: int) -> tuple[int, int, int]:
        table = self.root
        for depth, shift in enumerate(self._form.shifts):
            value = self._read(table, depth, linear)
            if not value & Page.P or value & Page.PS or shift == 12:
                return table, depth, value
            table = value & _ADDRESS
        raise AssertionError("unreachable")

    def _new_table(self) -> int:
        address = max(self._tables) + _PAGE
        self._tables[address] = bytearray(_PAGE)
        return address

    def _index(self, depth: int, linear: int) -> int:
        return linear >> self._form.shifts[depth] & ((1 << self._form.bits[depth]) - 1)

    def _read(self, table: int, depth: int, linear: int) -> int:
        at = self._index(depth, linear) * self._form.entry
        return int.from_bytes(self._tables[table][at : at + self._form.entry], "little")

    def _write(self, table: int, depth: int, linear: int, value: int) -> None:
        at = self._index(depth, linear) * self._form.entry
        self._tables[table][at : at + self._form.entry] = value.to_bytes(self._form.entry, "little")

    def __repr__(self) -> str:
        return f"PageTables(root={self.root:#x}, {len(self._tables)} tables)"
