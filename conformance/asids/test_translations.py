"""Translations belong to an address space: a guest's to its ASID, the host's to ASID 0 (15.16)."""

from conformance.tlb.moved import ALL, PAGE
from conformance.vmrun.guests import VMMCALL
from harness.cases import executes, requirement
from harness.lab import places
from harness.lab.guest import Guest, Mode, guest
from harness.lab.paging import FLAGS, Page, PageTables
from harness.lab.program import SCRATCH_END, Program
from harness.lab.programs import program
from harness.lab.seen import Seen
from harness.lab.steps import code, enable_svm
from harness.machine.vmcb import FIELDS
from harness.model.registers import Cr4

FIRST, SECOND = places.VMCBS, places.VMCBS + places.PAGE
CONTROL, RIP = FIELDS["tlb_control"].offset, FIELDS["rip"].offset
HOSTS, FIRSTS, SECONDS = 0x11, 0x22, 0x33
"""What each has in its page."""


def page(number: int) -> int:
    """The page of the host, or of a guest by its number."""
    return places.DATA + number * places.PAGE


def own_tables(number: int, flags: int) -> PageTables:
    """Tables that have the one page, at the same linear address as all others."""
    return PageTables(places.OWN_TABLES + number * 0x1_0000).identity(SCRATCH_END).map(PAGE, page(number), flags=flags)


def reads(number: int, source: str, flags: int, cr4: int) -> Guest:
    """A guest whose ASID is its number."""
    its = own_tables(number, flags)
    it = guest(Mode.LONG, source, guest_asid=number, cr3=its.root, cr4=cr4, tlb_control=ALL)
    return it.having(its.regions | {page(number): bytes((0x11 * (number + 1),))})


def in_turn(flags: int, cr4: int) -> dict[str, Program]:
    """Host, first guest, host, second guest, first guest, host: each reads, and only its first VMRUN flushes."""
    read = f"movzx {{}}, byte [{PAGE:#x}]\n"
    first = reads(1, read.format("ebx") + "vmmcall\n" + read.format("ebp") + "vmmcall", flags, cr4)
    second = reads(2, read.format("edx") + "vmmcall", flags, cr4)
    second.vmcb.tlb_control = 0
    host = own_tables(0, flags)
    source = (
        f"mov rax, cr4\nor eax, {cr4:#x}\nmov cr4, rax\nmov eax, {host.root:#x}\nmov cr3, rax\n"
        + read.format("r8d")
        + f"mov eax, {FIRST:#x}\nvmrun\n"
        + read.format("r9d")
        + f"mov eax, {SECOND:#x}\nvmrun\n"
        + f"mov eax, {FIRST:#x}\nmov byte [rax + {CONTROL:#x}], 0\nadd qword [rax + {RIP:#x}], 3\nvmrun\n"
        + read.format("r10d")
    )
    memory = host.regions | {page(0): bytes((HOSTS,))}
    step = code(source, vmcb=FIRST, name="in turn")
    return {"": program(*enable_svm(), step, guests={FIRST: first, SECOND: second}, memory=memory)}


def each_reads_its_own(ran: Seen) -> None:
    """Whoever reads finds what is in its own page."""
    assert ran.vmrun("in turn").exit == VMMCALL
    found = ran["in turn"].registers
    expected = {"r8": HOSTS, "rbx": FIRSTS, "r9": HOSTS, "rdx": SECONDS, "rbp": FIRSTS, "r10": HOSTS}
    assert {name: found[name] for name in expected} == expected


@requirement("SVM-15.16-004")
@executes(in_turn(FLAGS, Cr4.PAE))
def test_translations_belong_to_an_asid(ran: Seen) -> None:
    """Host and two guests have a page each at one linear address, and each reads its own, whoever read before."""
    each_reads_its_own(ran)


@requirement("SVM-15.16-002")
@executes(in_turn(FLAGS | Page.G, Cr4.PAE | Cr4.PGE))
def test_global_pages_are_global_in_their_asid(ran: Seen) -> None:
    """That is so for pages that are global for the host and for each guest, too."""
    each_reads_its_own(ran)
