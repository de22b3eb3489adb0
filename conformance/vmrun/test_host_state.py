"""The host's state around VMRUN and #VMEXIT (15.5.1): what comes back.

Each guest shows in its registers that it had another state, so an engine that loads none does not pass.
"""

from conformance.vmrun.visits import Visit, registers, visits
from harness.cases import executes, requirement
from harness.lab import places
from harness.lab.guest import Mode, guest
from harness.lab.program import StepMode
from harness.lab.seen import Seen
from harness.model.registers import Cr0, Cr4, Efer
from harness.msr import Msr

# In 64-bit mode the byte 42h is a prefix of the NOP behind it, in 32-bit code it is INC EDX by itself.
COUNT = "inc edx\ndb 0x42, 0x90"

RESUMES = visits(
    {
        "64-bit mode": Visit(
            guest(Mode.REAL, "mov cx, cs\nxor edx, edx\nvmmcall"),
            before="mov r8d, cs",
            after=f"{COUNT}\nmov r9d, cs",
        ),
        "compatibility mode": Visit(
            guest(Mode.LONG, "mov ecx, cs\nxor edx, edx\nvmmcall", cs__selector=0x2340),
            before="mov esi, cs",
            after=f"{COUNT}\nmov edi, cs",
            mode=StepMode.COMPATIBILITY,
        ),
    }
)


@requirement("SVM-15.5.1-008")
@executes(RESUMES)
def test_host_resumes_after_vmrun(ran: Seen) -> None:
    """After #VMEXIT the host goes on at the instruction after VMRUN, in the code segment that it had."""
    long, compatible = registers(ran, "64-bit mode"), registers(ran, "compatibility mode")
    assert (long["rdx"], compatible["rdx"]) == (1, 2), "the host went on somewhere else, or in another mode"
    assert long["r8"] == long["r9"] != long["rcx"]
    assert compatible["rsi"] == compatible["rdi"] != compatible["rcx"]


STACKS = visits(
    {
        "SS loaded": Visit(
            guest(Mode.REAL, "mov cx, ss\nmovzx edx, sp\nvmmcall", ss__selector=0x1230, rsp=0x5678),
            before="mov r8d, ss\nmov r9, rsp\npush -5",
            after="pop r12\nmov r10d, ss\nmov r11, rsp",
        ),
        "SS null": Visit(
            guest(Mode.LONG, "mov ecx, ss\nmov rdx, rsp\nvmmcall", ss__selector=0x1230, rsp=0x0012_3456_789A),
            before="xor r8d, r8d\nmov ss, r8d\nmov r9, rsp\npush -5",
            after="pop r12\nmov r10d, ss\nmov r11, rsp",
        ),
    }
)


@requirement("SVM-15.5.1-009")
@executes(STACKS)
def test_host_stack_comes_back(ran: Seen) -> None:
    """After #VMEXIT SS and RSP are what they were at VMRUN, and the stack holds what was on it."""
    for name, stack in (("SS loaded", 0x5678), ("SS null", 0x0012_3456_789A)):
        seen = registers(ran, name)
        assert (seen["rcx"], seen["rdx"]) == (0x1230, stack), f"{name}: the guest had another stack"
        assert (seen["r10"], seen["r11"]) == (seen["r8"], seen["r9"]), name
        assert seen["r12"] == (1 << 64) - 5, name


# All that can be set without consequences: CF PF AF ZF SF DF OF IOPL NT AC ID, and IF, as GIF is 0 then.
FLAGS_SET, FLAGS_CLEAR = 0x0024_7ED7, 0x0000_0002


def flags_of(host: int, of_guest: int) -> Visit:
    """The host executes VMRUN with these flags and reports in R9; the guest has those and reports in RCX."""
    return Visit(
        guest(Mode.LONG, "pushfq\npop rcx\nvmmcall", rflags=of_guest),
        before=f"clgi\npush {host:#x}\npopfq",
        after="pushfq\npop r9",
    )


FLAGS = {"set": (FLAGS_SET, FLAGS_CLEAR), "clear": (FLAGS_CLEAR, FLAGS_SET & ~0x200)}


@requirement("SVM-15.5.1-011")
@executes(visits({name: flags_of(*flags) for name, flags in FLAGS.items()}))
def test_host_flags_come_back(ran: Seen) -> None:
    """After #VMEXIT RFLAGS are what they were at VMRUN, whatever the guest's are."""
    for name, (host, of_guest) in FLAGS.items():
        seen = registers(ran, name)
        assert hex(seen["rcx"]) == hex(of_guest), f"{name}: the guest had other flags"
        assert hex(seen["r9"]) == hex(host), name


READS_CONTROL = "mov {}, cr0\nmov {}, cr3\nmov {}, cr4"
BITS_OF_HOST = f"""
mov r8, cr0
or r8, {Cr0.TS | Cr0.MP}
btc r8, 16
mov cr0, r8
mov r9, cr4
or r9, {Cr4.TSD}
mov cr4, r9
"""
CONTROL = {
    "real mode": Visit(
        guest(Mode.REAL, "mov ecx, cr0\nmov edx, cr3\nmov ebx, cr4\nvmmcall", cr3=0x0123_4000, cr4=Cr4.DE),
        before=BITS_OF_HOST + READS_CONTROL.format("r8", "r9", "r10"),
        after=READS_CONTROL.format("r11", "r12", "r13"),
    ),
    "64-bit mode": Visit(
        guest(Mode.LONG, READS_CONTROL.format("rcx", "rdx", "rbx") + "\nvmmcall"),
        before=READS_CONTROL.format("r8", "r9", "r10"),
        after=READS_CONTROL.format("r11", "r12", "r13"),
    ),
}


@requirement("SVM-15.5.1-012")
@executes(visits(CONTROL))
def test_host_control_registers_come_back(ran: Seen) -> None:
    """After #VMEXIT CR0, CR3 and CR4 are what they were at VMRUN, whatever the guest's are."""
    for name in CONTROL:
        seen = registers(ran, name)
        before, after = [seen[r] for r in ("r8", "r9", "r10")], [seen[r] for r in ("r11", "r12", "r13")]
        of_guest = [seen[r] for r in ("rcx", "rdx", "rbx")]
        assert before == after, name
        assert all(host != own for host, own in zip(before, of_guest, strict=True)), f"{name}: the guest"


READS_EFER = f"mov ecx, {Msr.EFER:#x}\nrdmsr\n"
EFERS = {
    "real mode": Visit(
        guest(Mode.REAL, READS_EFER + "mov ebx, eax\nvmmcall"),
        before=READS_EFER + "mov r8d, eax",
        after=READS_EFER + "mov r9d, eax",
    ),
    "64-bit mode": Visit(
        guest(Mode.LONG, READS_EFER + "mov ebx, eax\nvmmcall", efer=Efer.SVME | Efer.LME | Efer.LMA | Efer.SCE),
        before=READS_EFER + "mov r8d, eax",
        after=READS_EFER + "mov r9d, eax",
    ),
}


@requirement("SVM-15.5.1-013")
@executes(visits(EFERS))
def test_host_efer_comes_back(ran: Seen) -> None:
    """After #VMEXIT EFER is what it was at VMRUN, whatever the guest's is."""
    for name, visit in EFERS.items():
        seen = registers(ran, name)
        assert seen["rbx"] == visit.guest.vmcb.efer, f"{name}: the guest had another EFER"
        assert seen["r9"] == seen["r8"] != seen["rbx"], name


HOST_TABLES, GUEST_TABLES = places.DATA, places.DATA + 0x1000
STORES_TABLES = "sgdt [{0:#x}]\nsidt [{0:#x} + 16]\n"
TABLES = visits(
    {
        "": Visit(
            guest(
                Mode.LONG,
                STORES_TABLES.format(GUEST_TABLES) + "vmmcall",
                gdtr__base=0x0123_4560, gdtr__limit=0x123, idtr__base=0x0765_4320, idtr__limit=0x321,
            ),
            before=STORES_TABLES.format(HOST_TABLES),
            after=STORES_TABLES.format(HOST_TABLES + 32),
        )
    },
    watches={HOST_TABLES: 64, GUEST_TABLES: 32},
)  # fmt: skip


@requirement("SVM-15.5.1-014")
@executes(TABLES)
def test_host_descriptor_tables_come_back(ran: Seen) -> None:
    """After #VMEXIT GDTR and IDTR are what they were at VMRUN, whatever the guest's are."""
    registers(ran, "")
    last = len(ran.steps) - 1
    before, after = ran.memory(HOST_TABLES, 32, last), ran.memory(HOST_TABLES + 32, 32, last)
    of_guest = ran.memory(GUEST_TABLES, 32, last)
    assert any(before[:10]) and any(before[16:26]), "the host has tables"
    assert before == after
    assert before[:10] != of_guest[:10] and before[16:26] != of_guest[16:26]


# Data segments of the probe for CPL 1 and 2; those of CPL 0 are loaded after a #VMEXIT that loads none.
HOST_ES, HOST_DS = 8 << 3, 10 << 3
WORD = places.DATA + 0x2000
SEGMENTS = visits(
    {
        name: Visit(
            guest(
                Mode.REAL,
                "mov ax, 0x1230\nmov es, ax\nmov ax, 0x3210\nmov ds, ax\nmov cx, es\nmov dx, ds\nvmmcall",
            ),
            before=f"mov eax, {HOST_ES}\nmov es, eax\nmov eax, {HOST_DS}\nmov ds, eax",
            after=f"mov esi, es\nmov edi, ds\nmov ebx, [es:{WORD:#x}]\nmov ebp, [ds:{WORD:#x}]",
            mode=mode,
        )
        for name, mode in (("64-bit mode", StepMode.LONG), ("compatibility mode", StepMode.COMPATIBILITY))
    },
    memory={WORD: b"word"},
)


@requirement("SVM-15.5.1-015")
@executes(SEGMENTS)
def test_host_es_and_ds_come_back(ran: Seen) -> None:
    """After #VMEXIT ES and DS are what they were at VMRUN, and lead to the same memory."""
    for name in ("64-bit mode", "compatibility mode"):
        seen = registers(ran, name)
        assert (seen["rcx"], seen["rdx"]) == (0x1230, 0x3210), f"{name}: the guest loaded others"
        assert (seen["rsi"], seen["rdi"]) == (HOST_ES, HOST_DS), name
        assert seen["rbx"] == seen["rbp"] == int.from_bytes(b"word", "little"), name
