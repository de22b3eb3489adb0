"""The host's page tables as explain walks them: which linear addresses can be executed at, and what they map to."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.model.explain.hostpages import Page, pages, translate
from harness.tests.model_edges import PATIENT

NX, LARGE, PRESENT = 1 << 63, 0x80, 1
CR0_PG, PAE, PSE, LA57 = 1 << 31, 1 << 5, 1 << 4, 1 << 12
LMA, NXE = 1 << 10, 1 << 11
LONG = {"cr0": CR0_PG | 1, "cr3": 0x1000, "cr4": PAE, "efer": LMA | NXE}


@dataclass
class Memory:
    """Physical memory of 64 KiB in which tables are built."""

    data: bytearray = field(default_factory=lambda: bytearray(0x1_0000))

    def entry(self, table: int, index: int, value: int, size: int = 8) -> None:
        self.data[table + index * size : table + (index + 1) * size] = value.to_bytes(size, "little")

    def read(self, address: int, size: int) -> bytes:
        if address + size > len(self.data):
            raise ValueError(f"{address:#x}")
        return bytes(self.data[address : address + size])


@pytest.fixture
def memory() -> Memory:
    return Memory()


def test_four_levels_with_large_pages_and_nx(memory: Memory) -> None:
    memory.entry(0x1000, 0, 0x2000 | PRESENT)
    memory.entry(0x1000, 256, 0x2000 | PRESENT)
    memory.entry(0x2000, 0, 0x3000 | PRESENT)
    memory.entry(0x2000, 1, 1 << 30 | LARGE | PRESENT | NX)
    memory.entry(0x3000, 0, LARGE | PRESENT)
    memory.entry(0x3000, 1, 0x4000 | PRESENT)
    memory.entry(0x4000, 3, 0xABC000 | PRESENT)
    found = set(pages(LONG, memory.read))
    low = {Page(0, 0, 1 << 21, True), Page(0x20_3000, 0xABC000, 0x1000, True), Page(1 << 30, 1 << 30, 1 << 30, False)}
    assert found == low | {
        Page(page.linear + 0xFFFF_8000_0000_0000, page.physical, page.size, page.executable) for page in low
    }
    assert translate(0xFFFF_8000_0020_3123, LONG, memory.read) == 0xABC123
    assert translate(0x4000_0008, LONG, memory.read) == 0x4000_0008
    assert translate(0x0000_8000_0000_0000, LONG, memory.read) is None  # not canonical
    assert translate(0x20_4000, LONG, memory.read) is None


def test_nx_is_no_bit_without_nxe(memory: Memory) -> None:
    memory.entry(0x1000, 0, 0x2000 | PRESENT)
    memory.entry(0x2000, 0, LARGE | PRESENT | NX)
    assert [page.executable for page in pages(LONG, memory.read)] == [False]
    assert [page.executable for page in pages(LONG | {"efer": LMA}, memory.read)] == [True]


def test_five_levels(memory: Memory) -> None:
    for table, index in ((0x1000, 511), (0x2000, 0), (0x3000, 0)):
        memory.entry(table, index, table + 0x1000 | PRESENT)
    memory.entry(0x4000, 2, LARGE | PRESENT)
    wide = LONG | {"cr4": PAE | LA57}
    linear = 0xFFFF_0000_0000_0000 + (2 << 21)
    assert list(pages(wide, memory.read)) == [Page(linear, 0, 1 << 21, True)]
    assert translate(linear + 5, wide, memory.read) == 5


def test_pae_outside_long_mode(memory: Memory) -> None:
    registers = {"cr0": CR0_PG | 1, "cr3": 0x1020, "cr4": PAE, "efer": 0}
    memory.entry(0x1020, 3, 0x2000 | PRESENT)
    memory.entry(0x2000, 511, 0x40_0000 | LARGE | PRESENT)
    assert list(pages(registers, memory.read)) == [Page(0xFFE0_0000, 0x40_0000, 1 << 21, True)]
    assert translate(0xFFE0_1234, registers, memory.read) == 0x40_1234


def test_two_levels(memory: Memory) -> None:
    registers = {"cr0": CR0_PG | 1, "cr3": 0x1000, "cr4": PSE}
    memory.entry(0x1000, 0, 0x2000 | PRESENT, 4)
    memory.entry(0x2000, 7, 0x5000 | PRESENT, 4)
    memory.entry(0x1000, 1023, 0x80_0000 | LARGE | PRESENT, 4)
    found = set(pages(registers, memory.read))
    assert found == {Page(0x7000, 0x5000, 0x1000, True), Page(0xFFC0_0000, 0x80_0000, 1 << 22, True)}
    assert translate(0xFFC0_0010, registers, memory.read) == 0x80_0010
    without = registers | {"cr4": 0}  # then a large page is none, and its table lies outside memory
    assert set(pages(without, memory.read)) == {Page(0x7000, 0x5000, 0x1000, True)}
    assert translate(0xFFC0_0010, without, memory.read) is None


def test_without_paging_linear_is_physical(memory: Memory) -> None:
    registers = {"cr0": 1, "cr3": 0, "cr4": 0}
    assert list(pages(registers, memory.read)) == [Page(0, 0, 64 << 20, True)]
    assert translate(0x1234, registers, memory.read) == 0x1234


def test_tables_that_contain_each_other_end(memory: Memory) -> None:
    for index in range(4):
        memory.entry(0x1000, index, 0x1000 | PRESENT)
    assert len(list(pages(LONG, memory.read))) == 4**4


@PATIENT
@given(st.lists(st.tuples(st.integers(0, 511), st.integers(0, 511), st.integers(1, 1 << 39)), max_size=5), st.data())
def test_walk_and_translation_agree(entries: list[tuple[int, int, int]], data: st.DataObject) -> None:
    memory = Memory()
    memory.entry(0x1000, 300, 0x2000 | PRESENT)
    for number, (pdpt, pd, frame) in enumerate(entries):
        memory.entry(0x2000, pdpt, 0x3000 + 0x1000 * number | PRESENT)
        memory.entry(0x3000 + 0x1000 * number, pd, (frame << 12) & 0x000F_FFFF_FFE0_0000 | LARGE | PRESENT)
    for page in pages(LONG, memory.read):
        at = data.draw(st.integers(0, page.size - 1))
        assert translate(page.linear + at, LONG, memory.read) == page.physical + at
