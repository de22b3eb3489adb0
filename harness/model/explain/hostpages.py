"""The page tables of a host that is stopped: which linear addresses it can execute at, and what they map to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from harness.model.registers import Cr0, Cr4, Efer

Read = Callable[[int, int], bytes]
"""(physical address, size) to bytes; raises :class:`ValueError` where there is no memory."""

_PRESENT, _LARGE, _NX = 1 << 0, 1 << 7, 1 << 63
_ADDRESS = 0x000F_FFFF_FFFF_F000
_MOST_TABLES = 1 << 14
_WITHOUT_PAGING = 64 << 20


@dataclass(frozen=True)
class Page:
    """A translation of ``size`` bytes; ``executable`` is what NX says, for a supervisor."""

    linear: int
    physical: int
    size: int
    executable: bool


@dataclass(frozen=True)
class _Shape:
    """A paging mode: where its root is, how many levels, how wide an entry and an index are."""

    root: int
    levels: int
    entry: int
    nx: bool
    large: tuple[int, ...]

    @property
    def index_bits(self) -> int:
        return 9 if self.entry == 8 else 10

    def shift(self, level: int) -> int:
        return 12 + self.index_bits * (level - 1)

    def entries(self, level: int) -> int:
        return 4 if self.levels == 3 and level == 3 else 1 << self.index_bits

    def canonical(self, linear: int) -> int:
        width = self.shift(self.levels + 1)
        return linear | -(1 << width) & (1 << 64) - 1 if self.levels > 3 and linear >> (width - 1) & 1 else linear


def _shape(registers: dict[str, int]) -> _Shape | None:
    """Of these registers; ``None`` while paging is off."""
    cr3, cr4, efer = registers["cr3"], registers["cr4"], registers.get("efer", 0)
    if not registers["cr0"] & Cr0.PG:
        return None
    nx = bool(efer & Efer.NXE)
    if efer & Efer.LMA:
        return _Shape(cr3 & _ADDRESS, 5 if cr4 & Cr4.LA57 else 4, 8, nx, (2, 3))
    if cr4 & Cr4.PAE:
        return _Shape(cr3 & 0xFFFF_FFE0, 3, 8, nx, (2,))
    return _Shape(cr3 & 0xFFFF_F000, 2, 4, False, (2,) if cr4 & Cr4.PSE else ())


def pages(registers: dict[str, int], read: Read) -> Iterator[Page]:
    """Every page that is mapped, as they come; without paging the first 64 MiB. Tables that cannot be read are skipped.

    ``registers`` have GDB's names.
    """
    shape = _shape(registers)
    if shape is None:
        yield Page(0, 0, _WITHOUT_PAGING, True)
        return
    visits = 0
    todo = [(shape.root, shape.levels, 0, True)]
    while todo and visits < _MOST_TABLES:
        table, level, base, executable = todo.pop()
        visits += 1
        try:
            data = read(table, shape.entries(level) * shape.entry)
        except ValueError:
            continue
        for index in range(len(data) // shape.entry):
            entry = int.from_bytes(data[index * shape.entry : (index + 1) * shape.entry], "little")
            if not entry & _PRESENT:
                continue
            linear, size = base + (index << shape.shift(level)), 1 << shape.shift(level)
            may = executable and not (shape.nx and entry & _NX)
            if level == 1 or (level in shape.large and entry & _LARGE):
                yield Page(shape.canonical(linear), entry & _ADDRESS & -size, size, may)
            else:
                todo.append((entry & _ADDRESS, level - 1, linear, may))


def translate(linear: int, registers: dict[str, int], read: Read) -> int | None:
    """The physical address of a linear one; ``None`` where nothing is mapped."""
    shape = _shape(registers)
    if shape is None:
        return linear
    low = linear & (1 << shape.shift(shape.levels + 1)) - 1
    if shape.canonical(low) != linear:
        return None
    table = shape.root
    for level in range(shape.levels, 0, -1):
        index = low >> shape.shift(level) & shape.entries(level) - 1
        try:
            entry = int.from_bytes(read(table + index * shape.entry, shape.entry), "little")
        except ValueError:
            return None
        if not entry & _PRESENT:
            return None
        size = 1 << shape.shift(level)
        if level == 1 or (level in shape.large and entry & _LARGE):
            return (entry & _ADDRESS & -size) | linear & size - 1
        table = entry & _ADDRESS
    return None
