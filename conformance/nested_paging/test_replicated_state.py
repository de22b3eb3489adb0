"""Registers that guest and host have each for themselves under nested paging (15.25.2)."""

from conformance.intercepts.tried import NOT_RUN
from conformance.nested_paging.spaces import SHIFT, Mapped, Space, faults
from conformance.vmrun.guests import VMMCALL, each_ends, runs
from conformance.vmrun.visits import Visit, registers, visits
from harness.cases import Cpus, executes, requirement
from harness.lab import places
from harness.lab.guest import Mode, guest
from harness.lab.paging import FLAGS, Page, PageTables
from harness.lab.program import SCRATCH_END
from harness.lab.seen import Seen
from harness.model.registers import Cr0, Cr4, Efer
from harness.msr import Msr

SPACE = Space({"one": Mapped(content=b"\x11"), "other": Mapped(content=b"\x22")})
OTHER_TABLES = PageTables(SHIFT + places.OWN_TABLES).identity(SCRATCH_END)
OTHER_TABLES.map(SPACE.linear("one"), SPACE.physical("other"))
for table in OTHER_TABLES.regions:
    SPACE.nested.map(table, table - SHIFT)
OTHER_MEMORY = {at - SHIFT: table for at, table in OTHER_TABLES.regions.items()}

CHANGES = f"""
    mov rax, cr0
    or eax, {Cr0.WP:#x}
    mov cr0, rax
    mov rax, cr4
    or eax, {Cr4.DE:#x}
    mov cr4, rax
    mov ecx, {Msr.EFER:#x}
    rdmsr
    or eax, {Efer.SCE:#x}
    wrmsr
    mov eax, {OTHER_TABLES.root:#x}
    mov cr3, rax
    movzx ebx, byte [rbx]
    vmmcall"""
"""A guest that writes them all, and reads at RBX by its new tables."""

HOST = f"mov {{}}, cr0\nmov {{}}, cr3\nmov {{}}, cr4\nmov ecx, {Msr.EFER:#x}\nrdmsr\nmov {{}}d, eax"
BEFORE, AFTER = ("r8", "r9", "r10", "r11"), ("r12", "r13", "r14", "r15")
CHANGING = guest(Mode.LONG, CHANGES, rbx=SPACE.linear("one"), **SPACE.changes).having(SPACE.memory | OTHER_MEMORY)
OWN = visits({"changes": Visit(CHANGING, HOST.format(*BEFORE), HOST.format(*AFTER))})


@requirement("SVM-15.25.2-001")
@executes(OWN, cpus=Cpus.WITH_NPT)
def test_guest_changes_its_own_registers(ran: Seen) -> None:
    """What a guest writes to CR0, CR3, CR4 and EFER is in force for it, and not for the host or its nested tables."""
    found = registers(ran, "changes")
    assert found["rbx"] == 0x22
    guests = {"cr0": Cr0.WP, "cr4": Cr4.DE, "efer": Efer.SCE}
    it = ran.vmrun("changes")
    assert it.after.cr3 == OTHER_TABLES.root and all(it.after[name] & bit for name, bit in guests.items())
    assert [hex(found[name]) for name in AFTER] == [hex(found[name]) for name in BEFORE]


MODES = (Mode.REAL, Mode.PROTECTED, Mode.PAGED, Mode.PAE, Mode.LONG)
NO_EXECUTE = PageTables(places.OWN_TABLES).identity(SCRATCH_END, flags=FLAGS | Page.NX)
EXECUTED = {f"{mode.value}, executable": guest(mode, nested=True, tlb_control=1) for mode in MODES}
FORBIDDEN = {
    mode.value: guest(mode, nested=True, n_cr3=NO_EXECUTE.root, tlb_control=1, exitcode=NOT_RUN).having(
        NO_EXECUTE.regions
    )
    for mode in MODES
}


@requirement("SVM-15.25.2-005")
@executes(runs(EXECUTED | FORBIDDEN), cpus=Cpus.WITH_NPT)
def test_host_registers_control_the_nested_translation(ran: Seen) -> None:
    """Guests with PG=0, PAE=0, LMA=0 or NXE=0 are translated by nested tables like the host's: four levels, and NX."""
    each_ends(ran, dict.fromkeys(EXECUTED, VMMCALL))
    faults(ran, FORBIDDEN)
    assert {name: ran.vmrun(name).info2 for name in FORBIDDEN} == {name: it.entry for name, it in FORBIDDEN.items()}


HOSTS, GUESTS, WRITTEN = 0x1111_0000, 0x2222_0000, 0x3333_0000
CR2 = visits(
    {
        "CR2": Visit(
            guest(Mode.LONG, f"mov rdx, cr2\nmov eax, {WRITTEN:#x}\nmov cr2, rax\nvmmcall", nested=True, cr2=GUESTS),
            before=f"mov eax, {HOSTS:#x}\nmov cr2, rax",
            after="mov rsi, cr2",
        )
    }
)


@requirement("SVM-15.25.2-002")
@executes(CR2, cpus=Cpus.WITH_NPT)
def test_cr2_is_not_replicated(ran: Seen) -> None:
    """The guest finds CR2 as its VMCB has it, and the host finds it as the guest left it."""
    found = registers(ran, "CR2")
    assert [hex(found[name]) for name in ("rdx", "rsi")] == [hex(GUESTS), hex(WRITTEN)]
