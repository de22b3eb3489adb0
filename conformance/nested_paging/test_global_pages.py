"""Whether a guest's page is global is its own affair (15.25.7)."""

from conformance.nested_paging.spaces import Mapped, Space
from conformance.vmrun.visits import Visit, registers, visits
from harness.cases import Cpus, executes, requirement
from harness.lab.guest import Mode, guest
from harness.lab.paging import FLAGS, Page
from harness.lab.seen import Seen
from harness.model.registers import Cr4

GLOBAL = FLAGS | Page.G
SPACE = Space({"one": Mapped(nested=GLOBAL, content=b"\x11"), "other": Mapped(nested=GLOBAL, content=b"\x22")})
ENTRY = SPACE.table_entry("one", 3) - (1 << 30)
"""Where the guest, whose own memory is where it seems to be, writes the entry."""

MOVES = f"""
    movzx ebx, byte [rcx]
    mov eax, {SPACE.physical("other") | FLAGS:#x}
    mov [{ENTRY:#x}], rax
    mov rax, cr3
    mov cr3, rax
    movzx edx, byte [rcx]
    vmmcall"""
WITH_PGE = f"mov rax, cr4\nor eax, {Cr4.PGE:#x}\nmov cr4, rax"
GUEST = guest(Mode.LONG, MOVES, rcx=SPACE.linear("one"), cr4=Cr4.PAE | Cr4.PGE, **SPACE.changes).having(SPACE.memory)


@requirement("SVM-15.25.7-009")
@executes(visits({"moves": Visit(GUEST, WITH_PGE)}), cpus=Cpus.WITH_NPT)
def test_nested_entries_make_no_page_global(ran: Seen) -> None:
    """With G=1 in nested entries and PGE=1 in the host, MOV to CR3 still flushes a page that the guest has with G=0."""
    found = registers(ran, "moves")
    assert (found["rbx"], found["rdx"]) == (0x11, 0x22)
