"""A guest's addresses are translated twice, and the host's are not (15.25.1, 15.25.3, 15.25.4, 15.25.5, 15.25.9)."""

from conformance.intercepts.tried import GOES_ON, PF, Tries
from conformance.nested_paging.spaces import READ, Mapped, Space, faults
from conformance.vmrun.visits import Visit, registers, visits
from harness.cases import Cpus, executes, requirement
from harness.lab import places
from harness.lab.guest import Mode, guest
from harness.lab.paging import LARGE, SMALL, Page, PageTables
from harness.lab.program import SCRATCH_END, Program
from harness.lab.seen import Seen

SPACE = Space({"one": Mapped(content=b"\x11"), "other": Mapped(content=b"\x22")})
READS = Tries({name: SPACE.access(name, READ) for name in ("one", "other")})


@requirement("SVM-15.25.1-001")
@executes(READS.programs, cpus=Cpus.WITH_NPT)
def test_guest_tables_hold_guest_physical_addresses(ran: Seen) -> None:
    """CR3 and every entry of the guest's tables name memory that is elsewhere, and the guest reads what is there."""
    READS.come_to(ran, dict.fromkeys(("one", "other"), GOES_ON))
    assert [ran.vmrun(name).after.rax & 0xFF for name in ("one", "other")] == [0x11, 0x22]


@requirement("SVM-15.25.4-004")
@executes(READS.programs, cpus=Cpus.WITH_NPT)
def test_vmexit_leaves_n_cr3_alone(ran: Seen) -> None:
    """N_CR3 is after #VMEXIT what it was."""
    READS.come_to(ran, dict.fromkeys(("one", "other"), GOES_ON))
    assert [hex(ran.vmrun(name).after.n_cr3) for name in ("one", "other")] == [hex(SPACE.nested.root)] * 2


WALK = SPACE.guest.path(SPACE.linear("one"))
LEAVES = {SPACE.nested.address_of_entry(entry) for entry in WALK}
USED = {at for entry in WALK for at in SPACE.nested.path(entry)}
"""The nested entries that the walk of the guest's tables uses, and of these the ones that name a guest table."""


def watched() -> dict[str, Program]:
    """A read of the page, with these entries watched."""
    program = READS.programs[""]
    return {"": program.model_copy(update={"watches": program.watches | dict.fromkeys(USED, 8)})}


@requirement("SVM-15.25.5-003")
@executes(watched(), cpus=Cpus.WITH_NPT)
def test_walk_marks_nested_entries(ran: Seen) -> None:
    """A guest's read sets A in the nested entries that its table walk uses, and D in those that name its tables."""
    READS.come_to(ran, {"one": GOES_ON})
    entries = {at: int.from_bytes(ran.memory(at, 8, len(ran.steps) - 1), "little") for at in USED}
    assert {hex(at) for at, entry in entries.items() if not entry & Page.A} == set()
    assert {hex(at) for at in LEAVES if not entries[at] & Page.D} == set()


HERE, THERE = places.DATA, places.DATA + SMALL
MOVED = PageTables(places.OWN_TABLES).map(HERE, THERE)
for large in range(0, SCRATCH_END, LARGE):
    if large != HERE & -LARGE:
        MOVED.map(large, large, LARGE)

WRITES = guest(Mode.LONG, f"mov byte [{HERE:#x}], 0x22\nvmmcall", nested=True, n_cr3=MOVED.root).having(MOVED.regions)
EXITED = visits(
    {"exited": Visit(WRITES, after=f"mov bl, [{HERE:#x}]\nmov byte [{HERE:#x}], 0x11\nmov bh, [{HERE:#x}]")},
    watches={HERE: 8, THERE: 8},
)


@requirement("SVM-15.25.3-005")
@executes(EXITED, cpus=Cpus.WITH_NPT)
def test_vmexit_turns_nested_paging_off(ran: Seen) -> None:
    """After #VMEXIT the host reads and writes its own memory at an address that the nested tables map elsewhere."""
    assert registers(ran, "exited")["rbx"] & 0xFFFF == 0x1100
    end = len(ran.steps) - 1
    assert (ran.memory(HERE, 1, end), ran.memory(THERE, 1, end)) == (b"\x11", b"\x22")


SIZES = Space({"first": Mapped(content=b"\x11"), "third": Mapped(content=b"\x33")})
BIG, SINGLE, FAR = 100 << 39, 101 << 39, 3 << 30
SIZES.guest.map(BIG, FAR, LARGE).map(SINGLE, HERE)
SIZES.nested.map(FAR, SIZES.host("first")).map(FAR + 2 * SMALL, SIZES.host("third"))
DIFFERENT = Tries(
    {
        name: SIZES.access("first", READ, rcx=linear)
        for name, linear in {
            "first of a large page": BIG,
            "second of a large page": BIG + SMALL,
            "third of a large page": BIG + 2 * SMALL,
            "small page": SINGLE,
            "behind a small page": SINGLE + SMALL,
        }.items()
    }
)


@requirement("SVM-15.25.9-001")
@executes(DIFFERENT.programs, cpus=Cpus.WITH_NPT)
def test_smaller_page_counts(ran: Seen) -> None:
    """A guest's 2-MiB page over 4-KiB nested pages has their hole; its 4-KiB page in a nested 2-MiB page ends there."""
    DIFFERENT.come_to(ran, dict.fromkeys(("first of a large page", "third of a large page", "small page"), GOES_ON))
    faults(ran, ["second of a large page"])
    DIFFERENT.come_to(ran, {"behind a small page": PF})
    seen = {name: ran.vmrun(f"{name} of a large page") for name in ("first", "second", "third")}
    assert (seen["first"].after.rax, seen["second"].info2, seen["third"].after.rax) == (0x11, FAR + SMALL, 0x33)
