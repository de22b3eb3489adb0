from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from harness.machine.pagewalk import Mapping, merged, reach
from harness.machine.registers import EFER_LMA, Registers
from harness.machine.vmcb import FIELDS, Vmcb

LONG = Registers(values={"efer": EFER_LMA, "cr4": 0x20})
PAE = Registers(values={"efer": 0, "cr4": 0x20})
LEGACY = Registers(values={"efer": 0, "cr4": 0x10})


def memory(tables: dict[int, dict[int, int]], width: int = 8) -> Callable[[int, int], bytes]:
    """Physical memory that holds these tables: address -> {index: entry}."""
    ram = bytearray(0x20000)
    for address, entries in tables.items():
        for index, entry in entries.items():
            ram[address + width * index : address + width * (index + 1)] = entry.to_bytes(width, "little")

    def read(address: int, size: int) -> bytes:
        if address + size > len(ram):
            raise ValueError("outside")
        return bytes(ram[address : address + size])

    return read


def vmcb(**fields: int) -> Vmcb:
    data = bytearray(0x1000)
    for name, value in fields.items():
        field = FIELDS[name]
        data[field.offset : field.offset + field.size] = value.to_bytes(field.size, "little")
    return Vmcb(bytes(data))


def test_nested_tables_with_all_page_sizes() -> None:
    tables = {
        0x1000: {0: 0x2007},
        0x2000: {0: 0x3007, 1: 0x40000087, 2: 0},
        0x3000: {0: 0x4007, 1: 0x800087, 2: 0x600081},
        0x4000: {5: 0x9007, 6: 0xA005},
    }
    found = reach(vmcb(nested_control=1, n_cr3=0x1000), LONG, memory(tables))
    assert found.mappings == [
        Mapping(0x5000, 0x9000, 0x1000, True),
        Mapping(0x6000, 0xA000, 0x1000, False),
        Mapping(0x200000, 0x800000, 0x200000, True),
        Mapping(0x400000, 0x600000, 0x200000, False),
        Mapping(0x40000000, 0x40000000, 0x40000000, True),
    ]
    assert found.tables == [0x1000, 0x2000, 0x3000, 0x4000]


def test_a_read_only_table_makes_all_below_it_read_only() -> None:
    tables = {0x1000: {0: 0x2005}, 0x2000: {0: 0x87}}
    found = reach(vmcb(nested_control=1, n_cr3=0x1000), LONG, memory(tables))
    assert found.mappings == [Mapping(0, 0, 0x40000000, False)]


def test_pae_pointers_have_no_write_bit() -> None:
    tables = {0x1000: {0: 0x2001, 3: 0x2001}, 0x2000: {1: 0x200083}}
    found = reach(vmcb(cr0=1 << 31, cr4=1 << 5, cr3=0x1000), PAE, memory(tables))
    assert found.mappings == [
        Mapping(0x200000, 0x200000, 0x200000, True),
        Mapping(0xC0200000, 0x200000, 0x200000, True),
    ]


def test_legacy_tables() -> None:
    tables = {0x1000: {0: 0x2003, 1: 0x400083}, 0x2000: {7: 0x9003}}
    found = reach(vmcb(cr0=1 << 31, cr4=1 << 4, cr3=0x1000), LEGACY, memory(tables, 4))
    assert found.mappings == [Mapping(0x7000, 0x9000, 0x1000, True), Mapping(0x400000, 0x400000, 0x400000, True)]


def test_without_paging_the_guest_reaches_all() -> None:
    assert reach(vmcb(), LONG, memory({})).mappings == [Mapping(0, 0, 1 << 32, True)]


def test_tables_outside_ram_are_an_error() -> None:
    with pytest.raises(ValueError, match="outside"):
        reach(vmcb(nested_control=1, n_cr3=0x7FFF0000), LONG, memory({}))


def test_tables_that_contain_themselves_come_to_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.machine.pagewalk._MOST_TABLES", 64)
    tables = {0x1000: dict.fromkeys(range(512), 4103)}
    with pytest.raises(ValueError, match="contain each other"):
        reach(vmcb(nested_control=1, n_cr3=0x1000), LONG, memory(tables))


def test_neighbours_are_merged() -> None:
    runs = merged(
        [Mapping(0x1000, 0x5000, 0x1000, True), Mapping(0, 0x4000, 0x1000, True), Mapping(0x2000, 0, 0x1000, True)]
    )
    assert runs == [Mapping(0, 0x4000, 0x2000, True), Mapping(0x2000, 0, 0x1000, True)]


def test_vmcb_reads_fields_at_their_offsets() -> None:
    page = bytearray(0x1000)
    struct.pack_into("<Q", page, 0x578, 0x7C00)
    struct.pack_into("<I", page, 0x058, 7)
    one = Vmcb(bytes(page))
    assert (one["rip"], one["guest_asid"]) == (0x7C00, 7)
    assert one.decoded() == {"rip": 0x7C00, "guest_asid": 7}
    assert one.text().splitlines() == [
        "058h  guest_asid               0x00000007",
        "578h  rip                      0x0000000000007c00",
    ]


def test_vmcb_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="4096"):
        Vmcb(bytes(100))
