"""Guests in 64-bit mode whose pages are translated twice, to another address each time (15.25).

Each page that a case asks for has guest tables of its own below the root, so that every table of its walk can be mapped
as the case likes. All that is guest-physical lies :data:`SHIFT` above the memory that it is: the guest's tables, and
the pages. Code and stack alone are where they seem to be.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from conformance.intercepts.tried import Changes, Try, tried
from conformance.vmrun.guests import exit_codes
from harness.lab import places
from harness.lab.paging import FLAGS, PageTables
from harness.lab.program import SCRATCH_END
from harness.lab.seen import Seen
from harness.model import exits

READ, WRITE, FETCH = "mov al, [rcx]", "mov byte [rcx], 0xC3", "call rcx"
"""Accesses to the page at RCX; a write leaves in it what was there."""

RET = b"\xc3"
"""What is in a page: a fetch comes back, a read finds it in AL."""

P, RW, US, RSV, ID = (1 << n for n in range(5))
"""Bits of EXITINFO1 of a nested page fault, and of the error code of a page fault (15.25.6)."""

FINAL, TABLE = 1 << 32, 1 << 33
"""EXITINFO1: the fault was at the final address, or at a guest page table."""

SHIFT = 1 << 30
ROOM = places.DATA + 0x10_0000
"""Where the tables and pages of a space are in memory."""

PDPT, PD, PT = 1, 2, 3
"""Guest tables below the root, by their place in the walk."""

_MOST_TABLES = 0x80
"""There is room for so many guest tables; the pages are behind them."""


@dataclass(frozen=True)
class Mapped:
    """How a page is mapped.

    :param guest: flags of the guest's entry, :param nested: flags of the nested one.
    :param tables: flags of the nested entries of those of its guest tables that differ from all others.
    :param physical: another guest-physical address than the page's own, for the guest's entry to name.
    :param content: what is in the page.
    """

    guest: int = FLAGS
    nested: int = FLAGS
    tables: Mapping[int, int] = field(default_factory=dict)
    physical: int | None = None
    content: bytes = RET


class Space:
    """A guest's tables and the nested ones; what a case changes besides in either shows in :attr:`memory`."""

    def __init__(self, pages: Mapping[str, Mapped], at: int = ROOM) -> None:
        self._numbers = {name: number for number, name in enumerate(pages)}
        self.guest = PageTables(SHIFT + at).identity(SCRATCH_END)
        self._data = at + _MOST_TABLES * places.PAGE
        self.nested = PageTables(self._data + len(pages) * places.PAGE).identity(SCRATCH_END)
        for name, it in pages.items():
            own = self.host(name) + SHIFT
            self.guest.map(self.linear(name), own if it.physical is None else it.physical, flags=it.guest)
            self.nested.map(own, self.host(name), flags=it.nested)
        apart = {self.table(name, depth): flags for name, it in pages.items() for depth, flags in it.tables.items()}
        for table in range(at, self._data, places.PAGE):
            self.nested.map(SHIFT + table, table, flags=apart.get(SHIFT + table, FLAGS))
        self._content = {self.host(name): it.content for name, it in pages.items()}

    def linear(self, name: str) -> int:
        """The linear address of a page."""
        return self._numbers[name] + 1 << 39

    def physical(self, name: str) -> int:
        """The guest-physical address that the guest's tables have for it."""
        return self.guest.entry(self.linear(name)) & ~FLAGS & ((1 << 52) - places.PAGE)

    def host(self, name: str) -> int:
        """Where it is in memory."""
        return self._data + self._numbers[name] * places.PAGE

    def table_entry(self, name: str, depth: int) -> int:
        """The guest-physical address of an entry of the page's walk, 0 for the root's."""
        return self.guest.path(self.linear(name))[depth]

    def table(self, name: str, depth: int) -> int:
        """The guest-physical address of the table that the entry is in."""
        return self.table_entry(name, depth) & -places.PAGE

    @property
    def memory(self) -> dict[int, bytes]:
        """Tables and pages, for a program."""
        return {at - SHIFT: table for at, table in self.guest.regions.items()} | self.nested.regions | self._content

    @property
    def changes(self) -> Changes:
        """What a guest's VMCB has to say. Others had its ASID before: what the TLB knows of that is flushed."""
        return {"nested": True, "cr3": self.guest.root, "n_cr3": self.nested.root, "tlb_control": 1}

    def access(self, page: str, insn: str, *intercepts: int, offset: int = 0, **changes: Any) -> Try:
        """A guest that executes this with the page's address (and an offset) in RCX, and what it takes."""
        where = {"rcx": self.linear(page) + offset}
        return tried(insn, *intercepts, having=self.memory, **self.changes | where | changes)


def faults(ran: Seen, names: Iterable[str]) -> None:
    """Each of these VMRUNs ends with a nested page fault."""
    codes = exit_codes(ran, names)
    seen = {name: exits.name(code) if isinstance(code, int) else code for name, code in codes.items()}
    assert seen == dict.fromkeys(codes, "NPF")


def tells(ran: Seen, bits: int, expected: Mapping[str, int]) -> None:
    """Each ends so, and these bits of EXITINFO1 are as they must be; the others are for other cases to judge."""
    faults(ran, expected)
    seen = {name: hex(ran.vmrun(name).info1 & bits) for name in expected}
    assert seen == {name: hex(value) for name, value in expected.items()}
