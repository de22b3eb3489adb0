"""What the host's own paging decides about nested tables (15.25.3, 15.25.7)."""

from conformance.nested_paging.spaces import FETCH, READ, RSV, WRITE, Mapped, Space, faults, tells
from conformance.two_level import turned_off, turned_on
from conformance.vmrun.guests import INVALID, VMMCALL, each_ends
from conformance.vmrun.visits import Visit, visits
from harness.cases import Cpus, executes, requirement
from harness.lab import places
from harness.lab.guest import Guest, Mode, guest
from harness.lab.paging import FLAGS, Form, Page, PageTables
from harness.lab.program import SCRATCH_END, StepMode
from harness.lab.seen import Seen
from harness.lab.steps import EFER_OF_THE_PROBE, wrmsr
from harness.model.registers import Cr0, Efer
from harness.msr import Msr

NOT_RUN = 0xF000_0000
REAL = {"nested": guest(Mode.REAL, nested=True, exitcode=NOT_RUN), "not nested": guest(Mode.REAL)}
UNPAGED = visits({name: Visit(it, mode=StepMode.PROTECTED) for name, it in REAL.items()})


@requirement("SVM-15.25.3-002")
@executes(UNPAGED, cpus=Cpus.WITH_NPT)
def test_host_without_paging_has_no_nested_paging(ran: Seen) -> None:
    """From a host with CR0.PG=0 a guest with NP_ENABLE=1 is VMEXIT_INVALID, and one without it runs."""
    each_ends(ran, {"nested": INVALID, "not nested": VMMCALL})


HERE, THERE = places.DATA, places.DATA + places.PAGE
ROOTS = {Form.LONG: places.OWN_TABLES, Form.PAE: places.OWN_TABLES + 0x1_0000, Form.TWO_LEVEL: places.DATA + 0x10_0000}
HOST_TABLES = PageTables(places.DATA + 0x20_0000, Form.TWO_LEVEL).identity(1 << 32, 1 << 22)


def reads_here(form: Form) -> Guest:
    """A guest without paging that reads at an address which nested tables of this form map elsewhere."""
    size = 1 << (22 if form is Form.TWO_LEVEL else 21)
    tables = PageTables(ROOTS[form], form).map(HERE, THERE)
    for page in range(0, SCRATCH_END, size):
        if page != HERE & -size:
            tables.map(page, page, size)
    it = guest(Mode.PROTECTED, f"movzx ebx, byte [{HERE:#x}]\nvmmcall", nested=True, n_cr3=tables.root, tlb_control=1)
    return it.having(tables.regions | {HERE: b"\x11", THERE: b"\x22"})


FORMS = {
    "long mode": Visit(reads_here(Form.LONG)),
    "PAE paging": Visit(reads_here(Form.PAE), mode=StepMode.PAE),
    "two-level paging": Visit(
        reads_here(Form.TWO_LEVEL), turned_on(HOST_TABLES.root), turned_off(), mode=StepMode.PROTECTED
    ),
}
BY_FORM = {name: visits({"reads": it}, memory=HOST_TABLES.regions)[""] for name, it in FORMS.items()}


@requirement("SVM-15.25.3-003")
@executes(BY_FORM, cpus=Cpus.WITH_NPT)
def test_nested_tables_have_the_form_of_the_hosts(ran: Seen) -> None:
    """The nested tables of a host in long mode have four levels, those of one with PAE paging three, else two."""
    each_ends(ran, {"reads": VMMCALL})
    assert ran.vmrun("reads").step.registers["rbx"] == 0x22


NO_EXECUTE = FLAGS | Page.NX
SPACE = Space(
    {
        "plain": Mapped(),
        "read-only": Mapped(nested=Page.P | Page.US),
        "PT read-only": Mapped(tables={3: Page.P | Page.US}),
        "no execute": Mapped(nested=NO_EXECUTE),
    }
)
SET_WP = f"mov rax, cr0\nor eax, {Cr0.WP:#x}\nmov cr0, rax"
CLEAR_WP = f"mov rax, cr0\nand eax, {0xFFFF_FFFF ^ Cr0.WP:#x}\nmov cr0, rax"


def accessed(page: str, insn: str, number: int, **changes: int) -> Guest:
    """A guest that does this, with its code in a page by number."""
    return SPACE.access(page, insn, **changes).guest(places.DATA + 0x1_0000 + number * places.PAGE)


WP = {
    f"{page}, {state}": Visit(accessed(page, WRITE, number), before)
    for number, page in enumerate(("plain", "read-only", "PT read-only"))
    for state, before in {"WP set": SET_WP, "WP clear": CLEAR_WP}.items()
}


@requirement("SVM-15.25.7-002")
@executes(visits(WP), cpus=Cpus.WITH_NPT)
def test_wp_of_the_host_does_not_matter(ran: Seen) -> None:
    """Nested pages that are read-only are not writable, with the host's CR0.WP set or clear."""
    for state in ("WP set", "WP clear"):
        each_ends(ran, {f"plain, {state}": VMMCALL})
        faults(ran, (f"read-only, {state}", f"PT read-only, {state}"))


WITHOUT_NXE = wrmsr(Msr.EFER, EFER_OF_THE_PROBE & ~Efer.NXE | Efer.SVME)
NXE = {
    "plain": Visit(accessed("plain", FETCH, 0)),
    "no execute": Visit(accessed("no execute", READ, 1)),
    "no execute, NXE in the guest": Visit(
        accessed("no execute", READ, 1, efer=Efer.SVME | Efer.LME | Efer.LMA | Efer.NXE)
    ),
}


@requirement("SVM-15.25.7-004")
@executes(visits(NXE, first=(WITHOUT_NXE,)), cpus=Cpus.WITH_NPT)
def test_without_nxe_of_the_host_nx_is_reserved(ran: Seen) -> None:
    """With the host's EFER.NXE=0 a nested entry with bit 63 has a reserved bit set, whatever the guest's NXE is."""
    each_ends(ran, {"plain": VMMCALL})
    tells(ran, RSV, dict.fromkeys(("no execute", "no execute, NXE in the guest"), RSV))
