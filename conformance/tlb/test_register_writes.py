"""What a guest or the host does itself that flushes its own translations (15.16.1)."""

import struct
from dataclasses import dataclass
from enum import Enum

from conformance import two_level
from conformance.descriptors import descriptor
from conformance.intercepts.tried import NOT_RUN
from conformance.tlb import both_forms, moved
from conformance.tlb.both_forms import BothForms
from conformance.tlb.moved import CONTENT, NEW, follows
from conformance.vmrun.visits import Visit, visits
from harness.cases import executes, requirement
from harness.lab import places
from harness.lab.assemble import assemble
from harness.lab.guest import Guest, Mode, guest
from harness.lab.paging import FLAGS, Form, Page, PageTables
from harness.lab.program import Program, StepMode
from harness.lab.seen import Seen
from harness.model.registers import Cr0, Cr4

AT = places.OWN_TABLES
GLOBAL = FLAGS | Page.G
CODE, DATA, FIRST, SECOND = 8, 16, 24, 32
"""Selectors; the last two are of tasks."""
GDT, FIRST_TSS, SECOND_TSS = (places.DATA + n * places.PAGE for n in range(4, 7))
EIP_OF_TSS, EBX_OF_TSS = 0x20, 0x34


class Paging(Enum):
    """Modes of guests and of steps, and CR4."""

    LONG = Mode.LONG, StepMode.LONG, Cr4.PAE | Cr4.PGE
    TWO_LEVEL = Mode.PAGED, StepMode.PROTECTED, Cr4.PSE | Cr4.PGE
    BOTH = Mode.PAE, StepMode.PAE, Cr4.PAE | Cr4.PGE


@dataclass(frozen=True)
class Flush:
    """Code that flushes, with which paging it does, and whether of global pages, too."""

    source: str
    paging: Paging = Paging.LONG
    all: bool = True

    @property
    def flags(self) -> int:
        """Of the entry of the page that moves."""
        return GLOBAL if self.all else FLAGS

    @property
    def _tables(self) -> PageTables | BothForms:
        if self.paging is Paging.BOTH:
            return BothForms(AT, self.flags)
        return moved.tables(AT, self.flags, Form.LONG if self.paging is Paging.LONG else Form.TWO_LEVEL)

    @property
    def memory(self) -> dict[int, bytes]:
        """The tables that it needs, and the page."""
        return self._tables.regions | CONTENT

    @property
    def reads_first(self) -> str:
        """Read the page into EBX."""
        return f"movzx ebx, byte [{self._page:#x}]\n"

    @property
    def reads_then(self) -> str:
        """Move the page, flush, and read it into EDX."""
        its = self._tables
        entry = its.entry if isinstance(its, BothForms) else its.address_of_entry(self._page)
        move = f"mov dword [{entry:#x}], {NEW | self.flags:#x}"
        return f"{move}\n{self.source}\nmovzx edx, byte [{self._page:#x}]\n"

    @property
    def _page(self) -> int:
        return both_forms.PAGE if self.paging is Paging.BOTH else moved.PAGE

    def guest(self, **changes: int) -> Guest:
        """A guest that does that."""
        mode, _, cr4 = self.paging.value
        fields = {"cr3": AT, "cr4": cr4, "tlb_control": moved.ALL, "exitcode": NOT_RUN, "rip": both_forms.CODE}
        source = assemble(self.reads_first + self.reads_then + "vmmcall", mode.bits, org=both_forms.CODE)
        return guest(mode, **fields | changes).having(self.memory | {both_forms.CODE: source})

    def host(self) -> Program:
        """The host does that, with these tables, and runs a guest after the first read."""
        _, mode, cr4 = self.paging.value
        a = "rax" if mode is StepMode.LONG else "eax"
        on, off = f"mov eax, {AT:#x}\nmov cr3, {a}\nmov eax, {cr4:#x}\nmov cr4, {a}\n", ""
        if self.paging is Paging.TWO_LEVEL:
            on, off = two_level.turned_on(AT, cr4), two_level.turned_off()
        visit = Visit(guest(Mode.REAL, exitcode=NOT_RUN), on + self.reads_first, self.reads_then + off, mode)
        return visits({"flushes": visit}, memory=self.memory)[""]


def toggled(register: str, bit: int) -> str:
    """Change a bit in 64-bit mode, and leave it so."""
    return f"mov rax, {register}\nxor eax, {bit:#x}\nmov {register}, rax"


def there_and_back(register: str, bit: int) -> str:
    """Change a bit in protected mode, and change it back."""
    return f"mov eax, {register}" + f"\nxor eax, {bit:#x}\nmov {register}, eax" * 2


FLUSHES = {
    "MOV to CR3": Flush("mov rax, cr3\nmov cr3, rax", all=False),
    "PGE": Flush(toggled("cr4", Cr4.PGE)),
    "PSE": Flush(toggled("cr4", Cr4.PSE)),
    "PG": Flush(there_and_back("cr0", Cr0.PG), Paging.TWO_LEVEL),
    "PAE": Flush(there_and_back("cr4", Cr4.PAE), Paging.BOTH),
}

SWITCH = Flush(
    f"""
    mov eax, {FIRST}
    ltr ax
    mov dword [{SECOND_TSS + EIP_OF_TSS:#x}], second
    jmp {SECOND}:0
second:
    mov ebx, [{FIRST_TSS + EBX_OF_TSS:#x}]""",
    Paging.TWO_LEVEL,
    all=False,
)
OTHER_ROOT = AT + 0x1_0000
"""The second task's, with the same entries: both have the table whose entry changes."""


def second_task() -> bytes:
    """A TSS with another CR3; its EIP is written by the guest."""
    words = [0] * 26
    words[7], words[9] = OTHER_ROOT, 2
    words[18:22] = DATA, CODE, DATA, DATA
    return struct.pack("<26I", *words)


def switches_tasks() -> Guest:
    """A guest with two tasks that jumps from one to the other."""
    segments = (
        bytes(8),
        descriptor(0xC, 0x9B, 0xFFFFF),
        descriptor(0xC, 0x93, 0xFFFFF),
        descriptor(0, 0x89, 0x67, FIRST_TSS),
        descriptor(0, 0x89, 0x67, SECOND_TSS),
    )
    it = SWITCH.guest(gdtr__base=GDT, gdtr__limit=39)
    it.vmcb.update(cs__selector=CODE, **{f"{name}__selector": DATA for name in ("ss", "ds", "es")})
    return it.having({GDT: b"".join(segments), SECOND_TSS: second_task(), OTHER_ROOT: SWITCH.memory[AT]})


GUESTS = {name: it.guest() for name, it in FLUSHES.items()} | {"task switch": switches_tasks()}
IN_GUESTS = {name: visits({"flushes": Visit(it)})[""] for name, it in GUESTS.items()}


@requirement("SVM-15.16.1-008")
@executes(IN_GUESTS)
def test_guest_flushes_its_own_translations(ran: Seen) -> None:
    """A guest whose page moves finds it where its tables say, after what flushes its translations."""
    follows(ran, "flushes")


IN_HOST = {name: it.host() for name, it in FLUSHES.items()}


@requirement("SVM-15.16.1-008")
@executes(IN_HOST)
def test_host_flushes_its_own_translations(ran: Seen) -> None:
    """The host, which has run a guest meanwhile, finds its own page where its tables say, after the same."""
    follows(ran, "flushes")
