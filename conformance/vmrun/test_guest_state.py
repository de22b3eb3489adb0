"""What VMRUN loads from the VMCB's save area, as the guest itself finds it (15.5.1); the host has other values."""

from collections.abc import Mapping

from conformance.vmrun.visits import A_WHILE, registers
from harness.cases import Cpus, executes, requirement
from harness.lab import places
from harness.lab.guest import Guest, Mode, guest
from harness.lab.programs import vmruns
from harness.lab.seen import Seen
from harness.model.registers import Cr0, Cr4, Efer
from harness.msr import Msr

FLAGS = {"none": 0x2, "all": 0x0024_7CD7, "one by one": 0x0020_0457, "the others": 0x0004_7882}
RAX = {"none": 0, "all": (1 << 64) - 1, "one by one": 0x5555_AAAA_1234_8765, "the others": 0x8000_0000_0000_0001}


def with_flags(name: str) -> Guest:
    """A guest that reports RFLAGS in RCX, and RAX in RDX."""
    return guest(Mode.LONG, "pushfq\npop rcx\nmov rdx, rax\nvmmcall", rflags=FLAGS[name], rax=RAX[name])


@requirement("SVM-15.5.1-020")
@executes({"": vmruns({name: with_flags(name) for name in FLAGS})})
def test_flags_and_rax_are_loaded(ran: Seen) -> None:
    """The guest starts with the RFLAGS and the RAX of the VMCB."""
    seen = {name: registers(ran, name) for name in FLAGS}
    assert {name: (hex(seen[name]["rcx"]), hex(seen[name]["rdx"])) for name in FLAGS} == {
        name: (hex(FLAGS[name]), hex(RAX[name])) for name in FLAGS
    }


SELECTOR, BASE, SP = 0x3000, places.LOW_DATA + 0x3_0000, 0x1230
STACKS = vmruns(
    {
        "real mode": guest(
            Mode.REAL,
            "mov cx, ss\nmovzx edx, sp\npush 0x1234\nvmmcall",
            ss__selector=SELECTOR, ss__base=BASE, rsp=SP,
        ),
        "64-bit mode": guest(
            Mode.LONG,
            "mov ecx, ss\nmov rdx, rsp\nvmmcall",
            ss__selector=0x4568, rsp=0x7654_3210_FEDC,
        ),
    }
)  # fmt: skip
AT_BASE, AT_SELECTOR = BASE + SP - 8, SELECTOR * 16 + SP - 8


@requirement("SVM-15.5.1-021")
@executes({"": STACKS.model_copy(update={"watches": STACKS.watches | {AT_BASE: 8, AT_SELECTOR: 8}})})
def test_stack_is_loaded(ran: Seen) -> None:
    """The guest starts with the SS and the RSP of the VMCB, and what it pushes goes to the base that the VMCB has."""
    real, long = registers(ran, "real mode"), registers(ran, "64-bit mode")
    assert (real["rcx"], real["rdx"]) == (SELECTOR, SP)
    assert (long["rcx"], long["rdx"]) == (0x4568, 0x7654_3210_FEDC)
    changes = ran["real mode"].changes
    assert changes.get(AT_BASE) == 0x1234 << 48 and AT_SELECTOR not in changes


def controlled(mode: Mode, nested: int = False, **changes: int) -> Guest:
    """A guest that reports CR0, CR2, CR3, CR4 and EFER."""
    code = "mov {0}bp, cr0\nmov {0}di, cr2\nmov {0}bx, cr3\nmov {0}si, cr4\n".format("r" if mode is Mode.LONG else "e")
    return guest(mode, f"{code}mov ecx, {Msr.EFER:#x}\nrdmsr\nmov edx, eax\nvmmcall", nested, **changes)


IN = {"cr0": "rbp", "cr2": "rdi", "cr3": "rbx", "cr4": "rsi", "efer": "rdx"}
LONG = {
    "cr0": Cr0.PG | Cr0.AM | Cr0.ET | Cr0.MP | Cr0.PE,
    "cr2": 0xFFFF_8123_4567_89AB,
    "cr4": Cr4.PAE | Cr4.DE,
    "efer": Efer.SVME | Efer.LME | Efer.LMA | Efer.NXE | Efer.SCE,
}
CONTROLLED = {
    "64-bit mode": controlled(Mode.LONG, **LONG),
    "64-bit mode with MCE": controlled(Mode.LONG, cr2=0x1234_5678, cr4=Cr4.PAE | Cr4.MCE),
    "real mode": controlled(Mode.REAL, cr0=Cr0.ET | Cr0.TS, cr2=0xFEDC_BA98, cr3=0x0123_4000, cr4=Cr4.MCE),
}
NESTED = {"64-bit mode": controlled(Mode.LONG, nested=True, **LONG)}


def found(ran: Seen, guests: Mapping[str, Guest], *fields: str) -> None:
    """Each of these guests found in its control registers what its VMCB has."""
    for name, it in guests.items():
        seen = registers(ran, name)
        own = {field: hex(seen[IN[field]]) for field in fields}
        assert own == {field: hex(it.vmcb[field]) for field in fields}, name


@requirement("SVM-15.5.1-022")
@executes({"": vmruns(CONTROLLED)})
def test_cr0_cr3_and_efer_are_loaded(ran: Seen) -> None:
    """The guest starts with the CR0, the CR3 and the EFER of the VMCB."""
    found(ran, CONTROLLED, "cr0", "cr3", "efer")


@requirement("SVM-15.5.1-022")
@executes({"": vmruns(CONTROLLED)})
def test_cr2_is_loaded(ran: Seen) -> None:
    """The guest starts with the CR2 of the VMCB."""
    found(ran, CONTROLLED, "cr2")


@requirement("SVM-15.5.1-022")
@executes({"": vmruns(CONTROLLED)})
def test_cr4_is_loaded(ran: Seen) -> None:
    """The guest starts with the CR4 of the VMCB."""
    found(ran, CONTROLLED, "cr4")


@requirement("SVM-15.5.1-022")
@executes({"": vmruns(NESTED)}, cpus=Cpus.WITH_NPT)
def test_control_registers_are_loaded_under_nested_paging(ran: Seen) -> None:
    """With nested paging, too, the guest starts with the CR0, CR3 and EFER of the VMCB."""
    found(ran, NESTED, "cr0", "cr3", "efer")


STORED = places.DATA
TABLES = {
    "one": {"gdtr__base": 0x0123_4560, "gdtr__limit": 0x123, "idtr__base": 0xFFFF_8765_4321_0AB8, "idtr__limit": 0x321},
    "other": {"gdtr__base": 0x7654_3210_9870, "gdtr__limit": 0xFFFF, "idtr__base": 0x0001_0000, "idtr__limit": 0},
}
STORES = (
    f"sgdt [{STORED:#x}]\nsidt [{STORED + 16:#x}]\n"
    f"movzx ecx, word [{STORED:#x}]\nmov rdx, [{STORED + 2:#x}]\n"
    f"movzx ebx, word [{STORED + 16:#x}]\nmov rsi, [{STORED + 18:#x}]\nvmmcall"
)


@requirement("SVM-15.5.1-023")
@executes({"": vmruns({name: guest(Mode.LONG, STORES, **fields) for name, fields in TABLES.items()})})
def test_descriptor_tables_are_loaded(ran: Seen) -> None:
    """The guest starts with the GDTR and the IDTR of the VMCB."""
    for name, fields in TABLES.items():
        seen = registers(ran, name)
        assert {field: hex(seen[at]) for field, at in zip(fields, ("rdx", "rcx", "rsi", "rbx"), strict=True)} == {
            field: hex(value) for field, value in fields.items()
        }, name


AT_ES, AT_DS = places.LOW_DATA + 0x1_0000, places.LOW_DATA + 0x2_0000
DATA_SEGMENTS = guest(
    Mode.REAL,
    "mov cx, es\nmov dx, ds\nmov ebx, [es:0x123]\nmov esi, [ds:0x123]\nvmmcall",
    es__selector=0x1230, es__base=AT_ES, ds__selector=0x3210, ds__base=AT_DS,
).having({AT_ES + 0x123: b"of E", AT_DS + 0x123: b"of D"})  # fmt: skip


@requirement("SVM-15.5.1-024")
@executes({"": vmruns(DATA_SEGMENTS)})
def test_es_and_ds_are_loaded(ran: Seen) -> None:
    """The guest starts with the ES and the DS of the VMCB, hidden bases included, whatever the selectors are."""
    seen = registers(ran, "VMRUN")
    assert (seen["rcx"], seen["rdx"]) == (0x1230, 0x3210)
    assert [seen[name].to_bytes(8, "little")[:4] for name in ("rbx", "rsi")] == [b"of E", b"of D"]


DEBUG = {"one": (0xFFFF_4FF1, 0x0000_0455), "other": (0xFFFF_0FF4, 0x0000_0400), "third": (0xFFFF_2FFA, 0x0000_0701)}
READS_DEBUG = A_WHILE + "mov rcx, dr6\nmov rdx, dr7\nvmmcall"


@requirement("SVM-15.5.1-025")
@executes({"": vmruns({name: guest(Mode.LONG, READS_DEBUG, dr6=dr6, dr7=dr7) for name, (dr6, dr7) in DEBUG.items()})})
def test_dr6_and_dr7_are_loaded(ran: Seen) -> None:
    """The guest starts with the DR6 and the DR7 of the VMCB."""
    for name, (dr6, dr7) in DEBUG.items():
        seen = registers(ran, name)
        assert (hex(seen["rcx"]), hex(seen["rdx"])) == (hex(dr6), hex(dr7)), name
