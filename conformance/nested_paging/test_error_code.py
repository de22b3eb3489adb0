"""What a nested page fault tells: EXITINFO1 and EXITINFO2 (15.25.5, 15.25.6)."""

from conformance.intercepts.tried import Tries
from conformance.nested_paging.spaces import (
    FETCH,
    FINAL,
    ID,
    PD,
    PDPT,
    PT,
    READ,
    RSV,
    RW,
    TABLE,
    US,
    WRITE,
    Mapped,
    P,
    Space,
    faults,
    tells,
)
from harness.cases import Cpus, executes, requirement
from harness.lab.paging import FLAGS, LARGE, SMALL, Page
from harness.lab.seen import Seen

READ_ONLY = Page.P | Page.US
FAR, ROOT_FAR = 3 << 30, 1 << 39
"""Guest-physical addresses whose nested entries have a reserved bit: address bit 13 of a 2-MiB page, the root's PS."""

SPACE = Space(
    {
        "absent": Mapped(nested=0),
        "read-only": Mapped(nested=READ_ONLY),
        "no execute": Mapped(nested=FLAGS | Page.NX),
        "reserved": Mapped(physical=FAR),
        "reserved in the root": Mapped(physical=ROOT_FAR),
        "PDPT absent": Mapped(tables={PDPT: 0}),
        "PD absent": Mapped(tables={PD: 0}),
        "PT absent": Mapped(tables={PT: 0}),
        "PDPT read-only": Mapped(tables={PDPT: READ_ONLY}),
        "PD read-only": Mapped(tables={PD: READ_ONLY}),
        "PT read-only": Mapped(tables={PT: READ_ONLY}),
    }
)
SPACE.nested.map(FAR, 2 * SMALL, LARGE).map(ROOT_FAR, 0, ROOT_FAR)
OFFSET = 0x123

ACCESSES = Tries(
    {
        "read": SPACE.access("absent", READ),
        "read by a user": SPACE.access("absent", READ, cpl=3),
        "read within the page": SPACE.access("absent", READ, offset=OFFSET),
        "write": SPACE.access("absent", WRITE),
        "fetch": SPACE.access("absent", FETCH),
        "write to what is read-only": SPACE.access("read-only", WRITE),
        "write by a user": SPACE.access("read-only", WRITE, cpl=3),
        "fetch of what is not executable": SPACE.access("no execute", FETCH),
        "reserved": SPACE.access("reserved", READ),
        "reserved in the root": SPACE.access("reserved in the root", WRITE),
        "reserved for the guest's root": SPACE.access("absent", READ, cr3=FAR),
        "reserved in the root, for the guest's": SPACE.access("absent", READ, cr3=ROOT_FAR),
        **{f"{table} absent": SPACE.access(f"{table} absent", READ) for table in ("PDPT", "PD", "PT")},
        **{f"{table} read-only": SPACE.access(f"{table} read-only", READ) for table in ("PDPT", "PD", "PT")},
        "PT read-only, fetch": SPACE.access("PT read-only", FETCH),
        "PT absent, fetch": SPACE.access("PT absent", FETCH),
    }
)


@requirement("SVM-15.25.5-001")
@executes(ACCESSES.programs, cpus=Cpus.WITH_NPT)
def test_guest_tables_are_translated(ran: Seen) -> None:
    """A guest table that the nested tables lack, at any level, exits with 400h, for the table's own address."""
    tables = {"PDPT absent": PDPT, "PD absent": PD, "PT absent": PT}
    faults(ran, tables)
    seen = {name: hex(ran.vmrun(name).info2 & -SMALL) for name in tables}
    assert seen == {name: hex(SPACE.table(name, depth)) for name, depth in tables.items()}


@requirement("SVM-15.25.5-002")
@executes(ACCESSES.programs, cpus=Cpus.WITH_NPT)
def test_walk_of_guest_tables_is_a_users_write(ran: Seen) -> None:
    """A read through a guest table, of any level, that is read-only at the nested level exits as a user's write."""
    tells(ran, US | RW, dict.fromkeys(("PDPT read-only", "PD read-only", "PT read-only"), US | RW))


@requirement("SVM-15.25.5-004")
@executes(ACCESSES.programs, cpus=Cpus.WITH_NPT)
def test_final_access_is_what_the_guest_does(ran: Seen) -> None:
    """At the final address a read is a read, a write a write, and a fetch a fetch."""
    tells(ran, RW | ID, {"read": 0, "write": RW, "fetch": ID})


@requirement("SVM-15.25.6-004")
@executes(ACCESSES.programs, cpus=Cpus.WITH_NPT)
def test_address_of_the_fault(ran: Seen) -> None:
    """EXITINFO2 is the guest-physical address of what could not be accessed: the byte, or the guest's entry."""
    absent = SPACE.physical("absent")
    expected = {
        "read": absent,
        "read within the page": absent + OFFSET,
        "write to what is read-only": SPACE.physical("read-only"),
        "PT absent": SPACE.table_entry("PT absent", PT),
    }
    faults(ran, expected)
    assert {name: hex(ran.vmrun(name).info2) for name in expected} == {name: hex(a) for name, a in expected.items()}


@requirement("SVM-15.25.6-005")
@executes(ACCESSES.programs, cpus=Cpus.WITH_NPT)
def test_p_tells_whether_the_page_is_there(ran: Seen) -> None:
    """Bit 0 is 0 where the nested entry is not present, and 1 where it forbids the access."""
    tells(ran, P, {"read": 0, "PT absent": 0, "write to what is read-only": P, "PT read-only": P})


@requirement("SVM-15.25.6-006")
@executes(ACCESSES.programs, cpus=Cpus.WITH_NPT)
def test_rw_tells_of_a_write(ran: Seen) -> None:
    """Bit 1 is 1 for a write, to a page that is absent or read-only, and 0 for a read and for a fetch."""
    tells(ran, RW, {"write": RW, "write to what is read-only": RW, "read": 0, "fetch": 0})


@requirement("SVM-15.25.6-007")
@executes(ACCESSES.programs, cpus=Cpus.WITH_NPT)
def test_us_is_set_at_every_cpl(ran: Seen) -> None:
    """Bit 2 is 1 for accesses at CPL 0 as for those at CPL 3."""
    names = ("read", "read by a user", "write to what is read-only", "write by a user", "fetch", "PT absent")
    tells(ran, US, dict.fromkeys(names, US))


@requirement("SVM-15.25.6-008")
@executes(ACCESSES.programs, cpus=Cpus.WITH_NPT)
def test_rsv_tells_of_a_reserved_bit(ran: Seen) -> None:
    """Bit 3 is 1, with bit 0, where a nested entry has a reserved bit, be it for a page or for a guest table."""
    pages = ("reserved", "reserved in the root")
    tables = ("reserved for the guest's root", "reserved in the root, for the guest's")
    tells(ran, RSV | P, dict.fromkeys(pages + tables, RSV | P))


@requirement("SVM-15.25.6-009")
@executes(ACCESSES.programs, cpus=Cpus.WITH_NPT)
def test_id_is_clear_for_guest_tables(ran: Seen) -> None:
    """Bit 4 is 0 for a fault at a guest table, also on the way to a fetch."""
    tells(ran, ID, {"PT read-only, fetch": 0, "PT absent, fetch": 0, "fetch": ID})


@requirement("SVM-15.25.6-013")
@executes(ACCESSES.programs, cpus=Cpus.WITH_NPT)
def test_id_is_set_for_a_fetch(ran: Seen) -> None:
    """Bit 4 is 1 for a fetch from a page that is absent, or that is not executable."""
    tells(ran, ID, {"fetch": ID, "fetch of what is not executable": ID, "read": 0})


@requirement("SVM-15.25.6-010")
@executes(ACCESSES.programs, cpus=Cpus.WITH_NPT)
def test_bits_32_and_33_tell_where(ran: Seen) -> None:
    """Bit 32 is 1 for a fault at the final address, bit 33 for one at a guest table, and never both."""
    final, table = ("read", "write", "fetch", "reserved"), ("PDPT absent", "PD absent", "PT absent", "PT read-only")
    tells(ran, FINAL | TABLE, dict.fromkeys(final, FINAL) | dict.fromkeys(table, TABLE))
