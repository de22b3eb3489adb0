"""Walks a guest's translation tables from outside: which host memory can the guest reach?

Under nested paging the tables at N_CR3 have the host's paging mode (15.25.3); without it the guest runs on the tables
that its CR3 in the VMCB names, in the mode that its EFER, CR0 and CR4 there say.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from harness.machine.registers import EFER_LMA, Registers
from harness.machine.vmcb import NP_ENABLE, Vmcb

_MOST_TABLES = 1 << 11  # enough for 4 GiB of 4-KiB pages
_PRESENT, _WRITABLE, _LARGE = 1 << 0, 1 << 1, 1 << 7
_ADDRESS = 0x000F_FFFF_FFFF_F000
_CR0_PG, _CR4_PAE, _CR4_PSE = 1 << 31, 1 << 5, 1 << 4


@dataclass(frozen=True)
class Mapping:
    """A translation: ``size`` bytes from ``guest`` (guest-physical, or linear where tables are not nested) to ``host``.

    ``pat`` is the index into the PAT that the last entry gives: bits PAT, PCD, PWT (7.8.3).
    """

    guest: int
    host: int
    size: int
    writable: bool
    pat: int = 0


@dataclass
class Reach:
    """What a guest can reach, and which pages hold the tables that say so."""

    mappings: list[Mapping] = field(default_factory=list)
    tables: list[int] = field(default_factory=list)


def reach(vmcb: Vmcb, host: Registers, read: Callable[[int, int], bytes]) -> Reach:
    """Walk the tables that ``vmcb`` names, for a host whose registers at VMRUN were ``host``.

    ``read(address, size)`` gives physical memory and raises :class:`ValueError` outside RAM; so do we for
    tables without end.
    """
    if vmcb["nested_control"] & NP_ENABLE:
        return _tables(vmcb["n_cr3"], host["efer"], host["cr4"], read)
    return _own(vmcb["cr0"], vmcb["cr3"], vmcb["efer"], vmcb["cr4"], read)


def own(host: Registers, read: Callable[[int, int], bytes]) -> Reach:
    """Walk the tables that a host runs on; raises what :func:`reach` does."""
    return _own(host["cr0"], host["cr3"], host["efer"], host["cr4"], read)


def _own(cr0: int, cr3: int, efer: int, cr4: int, read: Callable[[int, int], bytes]) -> Reach:
    if not cr0 & _CR0_PG:
        return Reach([Mapping(0, 0, 1 << 32, True)])
    return _tables(cr3, efer, cr4, read)


def _tables(cr3: int, efer: int, cr4: int, read: Callable[[int, int], bytes]) -> Reach:
    if efer & EFER_LMA:
        return _walk(cr3 & _ADDRESS, 4, read)
    if cr4 & _CR4_PAE:
        return _walk(cr3 & 0xFFFF_FFE0, 3, read)
    return _walk_legacy(cr3 & 0xFFFF_F000, bool(cr4 & _CR4_PSE), read)


def _walk(root: int, levels: int, read: Callable[[int, int], bytes]) -> Reach:
    found = Reach()

    visits = itertools.count(1)

    def visit(table: int, level: int, base: int, writable: bool) -> None:
        if next(visits) > _MOST_TABLES:
            raise ValueError(f"more than {_MOST_TABLES} tables: these are none, or they contain each other")
        if table not in found.tables:
            found.tables.append(table & ~0xFFF)
        size = 1 << (12 + 9 * (level - 1))
        pdpt_of_pae = level == 3 and levels == 3  # four entries, no W bit
        data = read(table, 32 if pdpt_of_pae else 4096)
        for index in range(len(data) // 8):
            entry = int.from_bytes(data[8 * index : 8 * index + 8], "little")
            if not entry & _PRESENT:
                continue
            here, may_write = base + index * size, writable and (pdpt_of_pae or bool(entry & _WRITABLE))
            if level == 1 or (level in (2, 3) and not pdpt_of_pae and entry & _LARGE):
                target = entry & _ADDRESS & ~(size - 1)
                found.mappings.append(Mapping(here, target, size, may_write, _pat(entry, 7 if level == 1 else 12)))
            else:
                visit(entry & _ADDRESS, level - 1, here, may_write)

    visit(root, levels, 0, True)
    return found


def _walk_legacy(root: int, pse: bool, read: Callable[[int, int], bytes]) -> Reach:
    found = Reach(tables=[root])
    directory = read(root, 4096)
    for index in range(1024):
        entry = int.from_bytes(directory[4 * index : 4 * index + 4], "little")
        if not entry & _PRESENT:
            continue
        if pse and entry & _LARGE:
            target, may_write = entry & 0xFFC0_0000, bool(entry & _WRITABLE)
            found.mappings.append(Mapping(index << 22, target, 1 << 22, may_write, _pat(entry, 12)))
            continue
        found.tables.append(entry & 0xFFFF_F000)
        table = read(entry & 0xFFFF_F000, 4096)
        for slot in range(1024):
            page = int.from_bytes(table[4 * slot : 4 * slot + 4], "little")
            if page & _PRESENT:
                writable, linear = bool(entry & page & _WRITABLE), index << 22 | slot << 12
                found.mappings.append(Mapping(linear, page & 0xFFFF_F000, 4096, writable, _pat(page, 7)))
    return found


def _pat(entry: int, pat_bit: int) -> int:
    """PAT, PCD and PWT of the entry that maps a page."""
    return (entry >> pat_bit & 1) << 2 | entry >> 3 & 3


def merged(mappings: list[Mapping]) -> list[Mapping]:
    """Neighbouring translations put together."""
    runs: list[Mapping] = []
    for mapping in sorted(mappings, key=lambda one: one.guest):
        last = runs[-1] if runs else None
        if (
            last
            and last.guest + last.size == mapping.guest
            and last.host + last.size == mapping.host
            and (last.writable, last.pat) == (mapping.writable, mapping.pat)
        ):
            runs[-1] = replace(last, size=last.size + mapping.size)
        else:
            runs.append(mapping)
    return runs
