"""What VMRUN makes of a guest's own paging: PDPEs of PAE paging, and paging in real mode (15.5.1, 15.19)."""

from conformance.vmrun.guests import INVALID, VMMCALL, each_ends, runs
from harness.cases import executes, requirement
from harness.lab import places
from harness.lab.guest import Guest, Mode, guest
from harness.lab.paging import Form, PageTables
from harness.lab.seen import Seen

ENTRIES = {
    "legal": 1,
    "PWT, PCD and bits for software": 1 | 3 << 3 | 7 << 9,
    **{f"reserved bit {bit}": 1 | 1 << bit for bit in (1, 2, 5, 6, 7, 8, 52, 63)},
}
"""What the low and high bits of a PDPE that is present may be, and what not (vol. 2, 5.2.3)."""


def pae(number: int, bits: int) -> Guest:
    """A guest with a PDPT of its own, whose last entry, of a GiB that it never uses, has these bits besides."""
    it = guest(Mode.PAE, cr3=places.OWN_TABLES + number * places.PAGE)
    used = int.from_bytes(it.memory[places.PAE_TABLES][:8], "little")
    entries = (used, 0, 0, used | bits)
    return it.having({it.vmcb.cr3: b"".join(entry.to_bytes(8, "little") for entry in entries)})


PDPES = {name: pae(number, bits) for number, (name, bits) in enumerate(ENTRIES.items())}


@requirement("SVM-15.5.1-031")
@executes(runs(PDPES))
def test_reserved_bit_of_a_pdpe_is_invalid(ran: Seen) -> None:
    """With PAE paging and without nested paging, VMRUN reads the four PDPEs, and refuses reserved bits in them."""
    each_ends(ran, {name: INVALID if "reserved" in name else VMMCALL for name in PDPES})


PAGED_REAL = {"PG without PE": guest(Mode.PAGED_REAL)}


@requirement("SVM-15.5.1-C-027")
@executes(runs(PAGED_REAL))
def test_paging_without_protection_is_legal(ran: Seen) -> None:
    """CR0.PG=1 with CR0.PE=0 is legal while EFER.LME is 0."""
    each_ends(ran, dict.fromkeys(PAGED_REAL, VMMCALL))


HERE, THERE = places.LOW_DATA, places.LOW_DATA + places.PAGE
READ = f"mov ax, {HERE >> 4:#x}\nmov ds, ax\nmov ax, [0]\nvmmcall"


def reads_through_its_tables() -> Guest:
    """A guest in paged real mode that reads at one address, which its tables map to another."""
    it = guest(Mode.PAGED_REAL, READ, cr3=places.OWN_TABLES)
    tables = PageTables(it.vmcb.cr3, Form.TWO_LEVEL).map(HERE, THERE).map(it.entry, it.entry)
    return it.having(tables.regions | {HERE: b"\x11\x11", THERE: b"\x22\x22"})


READS = {"paged": reads_through_its_tables(), "not paged": guest(Mode.REAL, READ)}


@requirement("SVM-15.19-001")
@executes(runs(READS))
def test_real_mode_with_paging_uses_the_tables(ran: Seen) -> None:
    """With CR0.PG=1 a guest in real mode reads where its page tables say, and with PG=0 at the linear address."""
    each_ends(ran, dict.fromkeys(READS, VMMCALL))
    assert [ran.vmrun(name).after.rax & 0xFFFF for name in READS] == [0x2222, 0x1111]
