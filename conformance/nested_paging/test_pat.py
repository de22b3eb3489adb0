"""The page attribute table of a guest: its own under nested paging, else the host's (15.25.2, 15.25.4, 15.25.8)."""

from conformance.vmrun.visits import Visit, registers, visits
from harness.cases import Cpus, executes, requirement
from harness.lab.guest import WRITE_BACK, Guest, Mode, guest
from harness.lab.seen import Seen
from harness.msr import Msr

LOADED, WRITTEN = 0x0606_0505_0707_0406, 0x0004_0506_0107_0006
"""PATs that are legal, and differ from that of the host."""

RDMSR = f"mov ecx, {Msr.PAT:#x}\nrdmsr\nshl rdx, 32\nlea {{}}, [rax + rdx]\n"
WRMSR = f"mov ecx, {Msr.PAT:#x}\nmov eax, {{:#x}}\nmov edx, {{:#x}}\nwrmsr\n"


def wrmsr(value: int) -> str:
    """Code that writes it."""
    return WRMSR.format(value & 0xFFFF_FFFF, value >> 32)


CODE = RDMSR.format("rbx") + wrmsr(WRITTEN) + RDMSR.format("rbp") + "vmmcall"
READ_BEFORE = wrmsr(WRITE_BACK) + RDMSR.format("r8")
READ_AFTER = RDMSR.format("r9") + wrmsr(WRITE_BACK)


def visit(it: Guest) -> Visit:
    """The host reads its PAT before and after; the guest reads, writes, reads: in R8, RBX, RBP and R9."""
    return Visit(it, READ_BEFORE, READ_AFTER)


NESTED = visits({"nested": visit(guest(Mode.LONG, CODE, nested=True, g_pat=LOADED))})
SHARED = visits({"shared": visit(guest(Mode.LONG, CODE, g_pat=LOADED))})


@requirement("SVM-15.25.4-005")
@executes(NESTED, cpus=Cpus.WITH_NPT)
def test_vmrun_loads_the_guests_pat(ran: Seen) -> None:
    """The guest reads G_PAT in its PAT register."""
    assert hex(registers(ran, "nested")["rbx"]) == hex(LOADED)


@requirement("SVM-15.25.4-006")
@executes(NESTED, cpus=Cpus.WITH_NPT)
def test_vmexit_writes_the_guests_pat(ran: Seen) -> None:
    """What the guest wrote to its PAT register is in G_PAT after #VMEXIT."""
    registers(ran, "nested")
    assert hex(ran.vmrun("nested").after.g_pat) == hex(WRITTEN)


@requirement("SVM-15.25.2-004")
@executes(NESTED, cpus=Cpus.WITH_NPT)
def test_guest_writes_its_own_pat(ran: Seen) -> None:
    """The guest reads back what it wrote to its PAT register, and the host's is as it was."""
    found = registers(ran, "nested")
    assert [hex(found[name]) for name in ("r8", "rbp", "r9")] == [hex(WRITE_BACK), hex(WRITTEN), hex(WRITE_BACK)]


@requirement("SVM-15.25.8-001")
@executes(SHARED)
def test_without_nested_paging_there_is_one_pat(ran: Seen) -> None:
    """Without nested paging the guest reads the host's PAT, whatever G_PAT is, and what it writes the host finds."""
    found = registers(ran, "shared")
    assert [hex(found[name]) for name in ("r8", "rbx", "rbp", "r9")] == [hex(WRITE_BACK)] * 2 + [hex(WRITTEN)] * 2
