"""Pages that move: an entry is changed behind the processor's back, so the TLB may hold what it was.

Whether it does nobody can say. After what flushes it the new entry must be in force.
"""

from conformance.intercepts.tried import NOT_RUN
from conformance.vmrun.visits import Visit, registers
from harness.lab import places
from harness.lab.guest import Guest, Mode, guest
from harness.lab.paging import FLAGS, LARGE, Form, PageTables
from harness.lab.program import SCRATCH_END
from harness.lab.seen import Seen
from harness.machine.vmcb import FIELDS

OLD, NEW = places.DATA, places.DATA + places.PAGE
CONTENT = {OLD: b"\x11", NEW: b"\x22"}
MOVED = (0x11, 0x22)
"""What is read in a page before it moves, and then."""

ALL, GUEST, NON_GLOBAL = 1, 3, 7
"""TLB_CONTROL."""

PAGE = 1 << 30
"""The linear address of a page that moves."""

TWO_READS = f"movzx ebx, byte [{PAGE:#x}]\nvmmcall\nmovzx edx, byte [{PAGE:#x}]\nvmmcall"
_VMMCALL_LENGTH = 3


def tables(at: int, flags: int = FLAGS, form: Form = Form.LONG) -> PageTables:
    """Tables of a guest or of the host, with the page where it is at first."""
    large = 1 << 22 if form is Form.TWO_LEVEL else LARGE
    return PageTables(at, form).identity(SCRATCH_END, large).map(PAGE, OLD, flags=flags)


def reads_twice(its: PageTables, **changes: int) -> Guest:
    """A guest that reads the page into RBX, exits, and reads it into RDX; its first VMRUN flushes all there was."""
    fields = {"cr3": its.root, "tlb_control": ALL, "exitcode": NOT_RUN} | changes
    return guest(Mode.LONG, TWO_READS, **fields).having(its.regions | CONTENT)


def again(tlb_control: int) -> str:
    """Host code behind a VMRUN, which leaves the VMCB's address in RAX: the guest goes on behind its VMMCALL."""
    control, rip = FIELDS["tlb_control"].offset, FIELDS["rip"].offset
    return f"mov byte [rax + {control:#x}], {tlb_control}\nadd qword [rax + {rip:#x}], {_VMMCALL_LENGTH}\nvmrun\n"


def move(entry: int, flags: int = FLAGS) -> str:
    """Host code that changes the entry at a physical address; it leaves all registers alone."""
    return f"mov dword [{entry:#x}], {NEW | flags:#x}\n"


def moving(its: PageTables, flush: str, flags: int = FLAGS, **changes: int) -> Visit:
    """The guest reads, the page moves, the host executes this, which runs the guest :func:`again`."""
    return Visit(reads_twice(its, **changes), after=move(its.address_of_entry(PAGE), flags) + flush)


def follows(ran: Seen, name: str) -> None:
    """The guest read the old page, and then the new one."""
    found = registers(ran, name)
    assert (found["rbx"], found["rdx"]) == MOVED, f"{name}: {found['rbx']:#x}, then {found['rdx']:#x}"
