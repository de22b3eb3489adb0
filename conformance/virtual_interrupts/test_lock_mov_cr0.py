"""MOV of CR0 with a LOCK prefix: CR8 for code that has no REX prefix (15.21.3)."""

from harness.cases import executes, requirement
from harness.lab.program import Program, StepMode
from harness.lab.seen import Seen
from harness.lab.steps import code, efer_svme
from harness.machine.registers import EFER_SVME

TO_CR8, FROM_CR8 = "db 0xF0\nmov cr0, {0}\n", "db 0xF0\nmov {0}, cr0\n"
WRITTEN = 9
APIC_TPR = 0xFEE0_0080

_CODE = """
    mov {esi}, cr0
    mov eax, {written}
    {to_cr8}
    mov edi, {tpr:#x}
    mov ebx, [{edi}]
    mov dword [{edi}], 0x30
    {from_cr8}
    mov {ecx}, cr0
    mov dword [{edi}], 0
"""
"""EBX: the APIC's TPR after the write; EAX: what is read when that is 30h; ESI and ECX: CR0 before and after."""


def source(mode: StepMode) -> str:
    """The code, for a mode."""
    prefix = "r" if mode is StepMode.LONG else "e"
    names = {name: prefix + name[1:] for name in ("esi", "ecx", "edi")}
    to, from_ = (text.format(prefix + "ax") for text in (TO_CR8, FROM_CR8))
    return _CODE.format(written=WRITTEN, to_cr8=to, from_cr8=from_, tpr=APIC_TPR, **names)


MODES = (StepMode.LONG, StepMode.PROTECTED, StepMode.COMPATIBILITY)
PROGRAM = {
    "": Program(
        steps=(
            efer_svme(True),
            *(code(source(mode), mode=mode, name=str(mode)) for mode in MODES),
            efer_svme(False),
            *(code(source(mode), mode=mode, name=f"{mode}, without SVM") for mode in MODES),
        )
    )
}


def is_cr8(ran: Seen, name: str, *, svme: bool = True) -> None:
    """With this EFER.SVME the code has written the TPR, and read it, and CR0 is as it was."""
    seen = ran[name]
    assert bool(seen.efer & EFER_SVME) == svme, f"{name}: SVME is {not svme:d}"
    assert seen.vector is None, f"{name}: fault {seen.vector}"
    left = seen.registers
    assert (hex(left["rbx"]), hex(left["rax"])) == (hex(WRITTEN << 4), "0x3"), name
    assert hex(left["rsi"]) == hex(left["rcx"]), f"{name}: CR0 changed"


@requirement("SVM-15.21.3-001")
@executes(PROGRAM)
def test_lock_mov_cr0_is_cr8_in_32_bit_code(ran: Seen) -> None:
    """In protected mode and in compatibility mode it writes and reads the TPR."""
    for mode in MODES[1:]:
        is_cr8(ran, str(mode))


@requirement("SVM-15.21.3-002")
@executes(PROGRAM)
def test_lock_mov_cr0_is_cr8_in_64_bit_code(ran: Seen) -> None:
    """In 64-bit mode it writes and reads the TPR."""
    is_cr8(ran, str(StepMode.LONG))


@requirement("SVM-15.21.3-003")
@executes(PROGRAM)
def test_lock_mov_cr0_needs_no_svme(ran: Seen) -> None:
    """With EFER.SVME=0 it writes and reads the TPR, too, in 64-bit mode and in 32-bit code."""
    for mode in MODES:
        is_cr8(ran, f"{mode}, without SVM", svme=False)
