"""TLB_CONTROL: what VMRUN flushes (15.16.1)."""

from conformance.intercepts.tried import NOT_RUN
from conformance.tlb.moved import (
    ALL,
    CONTENT,
    GUEST,
    MOVED,
    NON_GLOBAL,
    OLD,
    PAGE,
    TWO_READS,
    again,
    follows,
    move,
    moving,
    reads_twice,
    tables,
)
from conformance.vmrun.guests import VMMCALL, each_ends, runs
from conformance.vmrun.visits import Visit, registers, visits
from harness.cases import Cpus, executes, requirement
from harness.lab import places
from harness.lab.guest import Mode, guest
from harness.lab.paging import FLAGS, LARGE, Page, PageTables
from harness.lab.program import SCRATCH_END
from harness.lab.seen import Seen
from harness.model.exits import NPF
from harness.model.registers import Cr4

GLOBAL = FLAGS | Page.G
WITH_PGE = Cr4.PAE | Cr4.PGE
PLAIN, FOR_ALL, OF_HOST = (
    tables(places.OWN_TABLES + n * 0x1_0000, flags) for n, flags in enumerate((FLAGS, GLOBAL, GLOBAL))
)
HOST_TABLES = f"""
    mov rax, cr4
    or eax, {Cr4.PGE:#x}
    mov cr4, rax
    mov eax, {OF_HOST.root:#x}
    mov cr3, rax
    movzx r8d, byte [{PAGE:#x}]"""
"""The host's own page, a global one: it is read here, and moves later."""
HOST_READS = f"movzx r9d, byte [{PAGE:#x}]"

OTHERS = places.VMCBS + 0x80 * places.PAGE
"""A VMCB with another ASID, whose VMRUN flushes; its guest does nothing. RAX is kept in RSI."""
BY_ANOTHER = f"mov rsi, rax\nmov eax, {OTHERS:#x}\nvmrun\nmov rax, rsi\n"
OTHER = guest(Mode.LONG, guest_asid=2, tlb_control=ALL)

FLUSHED = {
    "its own": moving(PLAIN, again(ALL)),
    "its own, global": moving(FOR_ALL, again(ALL), GLOBAL, cr4=WITH_PGE),
    "another's": moving(tables(places.OWN_TABLES + 0x3_0000), BY_ANOTHER + again(0)),
    "the host's": Visit(
        reads_twice(tables(places.OWN_TABLES + 0x4_0000)),
        before=HOST_TABLES,
        after=move(OF_HOST.address_of_entry(PAGE), GLOBAL) + again(ALL) + HOST_READS,
    ),
}


@requirement("SVM-15.16.1-002")
@executes(visits(FLUSHED, memory=OF_HOST.regions | OTHER.memory | {OTHERS: OTHER.vmcb.data}))
def test_1_flushes_everything(ran: Seen) -> None:
    """TLB_CONTROL=1 flushes a guest's page, also a global one, at the VMRUN of another ASID too, and the host's."""
    for name in ("its own", "its own, global", "another's"):
        follows(ran, name)
    found = registers(ran, "the host's")
    assert (found["r8"], found["r9"]) == MOVED


NESTED = PageTables(places.OWN_TABLES + 0x5_0000).map(PAGE, OLD)
for large in range(0, SCRATCH_END, LARGE):
    NESTED.map(large, large, LARGE)
ENTRY = NESTED.address_of_entry(PAGE)


def nested(change: str) -> Visit:
    """A guest whose nested tables change between its two reads; before, they are as they were at first."""
    it = guest(Mode.PROTECTED, TWO_READS, nested=True, n_cr3=NESTED.root, tlb_control=ALL, exitcode=NOT_RUN)
    restore = f"mov eax, {OLD | FLAGS:#x}\nmov [{ENTRY:#x}], rax"
    return Visit(it.having(NESTED.regions | CONTENT), restore, f"{change}\n{again(ALL)}")


CHANGED = {"moved": nested(move(ENTRY)), "taken away": nested(f"mov byte [{ENTRY:#x}], 0")}


@requirement("SVM-15.16.1-002")
@executes(visits(CHANGED), cpus=Cpus.WITH_NPT)
def test_1_flushes_nested_translations(ran: Seen) -> None:
    """After a VMRUN with TLB_CONTROL=1 a guest has no page that the nested tables had before and have no longer."""
    assert ran.vmrun("taken away").exit == NPF
    follows(ran, "moved")


BY_ASID = {"plain": moving(PLAIN, again(GUEST)), "global": moving(FOR_ALL, again(GUEST), GLOBAL, cr4=WITH_PGE)}


@requirement("SVM-15.16.1-003")
@executes(visits(BY_ASID))
def test_3_flushes_the_guests(ran: Seen) -> None:
    """TLB_CONTROL=3 flushes the pages of the guest's ASID, and global ones with them."""
    for name in BY_ASID:
        follows(ran, name)


@requirement("SVM-15.16.1-004")
@executes(visits({"plain": moving(PLAIN, again(NON_GLOBAL))}))
def test_7_flushes_what_is_not_global(ran: Seen) -> None:
    """TLB_CONTROL=7 flushes a page of the guest's ASID that is not global."""
    follows(ran, "plain")


KEPT = {f"TLB_CONTROL={value}": guest(Mode.LONG, tlb_control=value, exitcode=NOT_RUN) for value in (0, ALL)}


@requirement("SVM-15.16.1-005")
@executes(runs(KEPT))
def test_tlb_control_is_left_alone(ran: Seen) -> None:
    """TLB_CONTROL is after #VMEXIT what it was at VMRUN."""
    each_ends(ran, dict.fromkeys(KEPT, VMMCALL))
    assert {name: ran.vmrun(name).after.tlb_control for name in KEPT} == {
        name: it.vmcb.tlb_control for name, it in KEPT.items()
    }
