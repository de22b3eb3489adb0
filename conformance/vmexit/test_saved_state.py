"""What #VMEXIT stores in the VMCB (15.6): a guest leaves another state than it began with, in each register."""

from conformance.descriptors import descriptor
from conformance.vmrun.visits import A_WHILE, registers
from harness.cases import executes, requirement
from harness.lab import places
from harness.lab.guest import Guest, Mode, guest
from harness.lab.programs import vmruns
from harness.lab.seen import Seen
from harness.machine.vmcb import Vmcb
from harness.model.registers import Cr0, Cr4, Efer
from harness.msr import Msr

GDT, GDTR, IDTR = places.DATA + 0x100, places.DATA, places.DATA + 0x10
TABLE = (
    bytes(8)
    + descriptor(0b1011, 0x9F, 0xFFFFF)  # 08h: 64-bit code, conforming, AVL
    + descriptor(0b0100, 0x93, 0x12345)  # 10h: data of 12346h bytes
    + descriptor(0b1001, 0xF1, 0x00067)  # 18h: read-only data, DPL 3, AVL
    + descriptor(0b0101, 0xD3, 0x0FFFF)  # 20h: data, DPL 2, AVL
    + descriptor(0b1010, 0xFB, 0xFFFFF)  # 28h: 64-bit code, DPL 3
    + descriptor(0b1100, 0xF3, 0xFFFFF)  # 30h: data, DPL 3
)
TABLES = {
    "gdtr.base": GDT, "gdtr.limit": len(TABLE) - 1, "idtr.base": 0x7654_3210_FED0, "idtr.limit": 0x456,
}  # fmt: skip
SEGMENTS = {
    "cs": {"selector": 0x08, "attrib": 0xB9F},
    "ss": {"selector": 0x10, "attrib": 0x493, "limit": 0x0001_2345, "base": 0},
    "ds": {"selector": 0x18, "attrib": 0x9F1, "limit": 0x0006_7FFF, "base": 0},
    "es": {"selector": 0x22, "attrib": 0x5D3, "limit": 0x0000_FFFF, "base": 0},
}
CONTROL = {
    "cr0": Cr0.PG | Cr0.NE | Cr0.ET | Cr0.MP | Cr0.PE,
    "cr2": 0xFFFF_8765_4321_0123,
    "cr3": places.LONG_TABLES | 1 << 3,
    "cr4": Cr4.PAE | Cr4.DE,
    "efer": Efer.SVME | Efer.LME | Efer.LMA | Efer.SCE,
}
DEBUG = {"dr6": 0xFFFF_4FF1, "dr7": 0x0000_0455}
POINTERS = {"rflags": 0x0024_7CD7, "rsp": 0x7FFF_1234_5670, "rax": 0x8877_6655_4433_2211}

LOADS_TABLES = f"lgdt [{GDTR:#x}]\nlidt [{IDTR:#x}]\n"
LEAVES = (
    LOADS_TABLES
    + "push 0x08\nlea rax, [rel .on]\npush rax\nretfq\n.on:\n"
    + "".join(f"mov eax, {its['selector']}\nmov {name}, eax\n" for name, its in SEGMENTS.items() if name != "cs")
    + "".join(f"mov rax, {CONTROL[name]:#x}\nmov {name}, rax\n" for name in ("cr0", "cr2", "cr3", "cr4"))
    + f"mov ecx, {Msr.EFER:#x}\nmov eax, {CONTROL['efer']:#x}\nxor edx, edx\nwrmsr\n"
    + f"push {POINTERS['rflags']:#x}\npopfq\nmov rsp, {POINTERS['rsp']:#x}\nmov rax, {POINTERS['rax']:#x}\nvmmcall"
)
GOES_TO_CPL_3 = LOADS_TABLES + "push 0x33\npush 0\npush 2\npush 0x2B\nlea rax, [rel .on]\npush rax\niretq\n.on: vmmcall"


def leaving(code: str) -> Guest:
    """A guest that finds the tables which it loads."""
    limits = {GDTR: TABLES["gdtr.limit"], IDTR: TABLES["idtr.limit"]}
    bases = {GDTR: TABLES["gdtr.base"], IDTR: TABLES["idtr.base"]}
    pointers = {at: limits[at].to_bytes(2, "little") + bases[at].to_bytes(8, "little") for at in limits}
    return guest(Mode.LONG, code).having({GDT: TABLE} | pointers)


GUESTS = {"leaves": leaving(LEAVES), "leaves at CPL 3": leaving(GOES_TO_CPL_3)}
LEFT = {"": vmruns(GUESTS)}
WRITES_DEBUG = "".join(f"mov rax, {value:#x}\nmov {name}, rax\n" for name, value in DEBUG.items())


def holds(ran: Seen, expected: dict[str, int]) -> None:
    """The VMCB has these values after #VMEXIT, and had others before."""
    registers(ran, "leaves")
    before, after = ran.vmrun("leaves").before, ran.vmrun("leaves").after
    assert shown(after, expected) == {name: hex(value) for name, value in expected.items()}
    assert [name for name, value in expected.items() if before[name] == value and not name.endswith("base")] == []


def shown(vmcb: Vmcb, names: dict[str, int]) -> dict[str, str]:
    """These fields of it."""
    return {name: hex(vmcb[name]) for name in names}


@requirement("SVM-15.6-002")
@executes(LEFT)
def test_flags_pointers_and_rax_are_saved(ran: Seen) -> None:
    """#VMEXIT stores RFLAGS, RIP, RSP and RAX of the guest in the VMCB; VMMCALL's RIP is its own."""
    vmmcall = GUESTS["leaves"].entry + len(GUESTS["leaves"].memory[GUESTS["leaves"].entry]) - 3
    holds(ran, POINTERS | {"rip": vmmcall})


@requirement("SVM-15.6-026")
@executes(LEFT)
def test_segments_are_saved(ran: Seen) -> None:
    """#VMEXIT stores ES, CS, SS and DS of the guest in the VMCB, with what is hidden of them."""
    its = SEGMENTS.items()
    own = {f"{name}.{part}": value for name, parts in its for part, value in parts.items()}
    changed = {name: value for name, value in own.items() if name != "cs.selector"}
    holds(ran, changed)
    assert ran.vmrun("leaves at CPL 3").after.cs.selector == 0x2B


@requirement("SVM-15.6-027")
@executes(LEFT)
def test_descriptor_tables_are_saved(ran: Seen) -> None:
    """#VMEXIT stores GDTR and IDTR of the guest in the VMCB."""
    holds(ran, TABLES)


@requirement("SVM-15.6-028")
@executes(LEFT)
def test_control_registers_are_saved(ran: Seen) -> None:
    """#VMEXIT stores CR0, CR2, CR3, CR4 and EFER of the guest in the VMCB."""
    holds(ran, CONTROL)


@requirement("SVM-15.6-029")
@executes({"": vmruns({"leaves": guest(Mode.LONG, f"{A_WHILE}{WRITES_DEBUG}vmmcall")})})
def test_debug_registers_are_saved(ran: Seen) -> None:
    """#VMEXIT stores DR6 and DR7 of the guest in the VMCB."""
    holds(ran, DEBUG)


@requirement("SVM-15.6-030")
@executes(LEFT)
def test_cpl_is_saved(ran: Seen) -> None:
    """#VMEXIT stores the CPL of the guest in the VMCB."""
    registers(ran, "leaves at CPL 3")
    assert [ran.vmrun(name).after.cpl for name in GUESTS] == [0, 3]
