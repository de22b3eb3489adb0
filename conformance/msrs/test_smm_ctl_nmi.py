"""SMM_CTL.ENTER and EXIT: NMIs are held between them, and afterwards masked as they were before (15.30.3)."""

from conformance.gif.interrupts import NMI, source
from harness.cases import executes, requirement
from harness.lab import places
from harness.lab.program import Program, Step
from harness.lab.seen import Seen
from harness.lab.steps import code
from harness.msr import Msr

_MACROS = f"""
%macro smm_ctl 1
    mov ecx, {Msr.SMM_CTL:#x}
    mov eax, %1
    xor edx, edx
    wrmsr
%endmacro
%define ENTER 1 << 1
%define EXIT 1 << 3
"""

HELD = "smm_ctl ENTER\nsend_nmi\ninc ebx\nsmm_ctl EXIT\nwait_a_little\ninc ebx"
"""EBX at the end: 0 when the NMI is taken at once, 1 when it is taken at EXIT, 2 when it is not taken at all."""

IDT, POINTER, SAVED = places.DATA, places.DATA + 0x1000, places.DATA + 0x1010

IN_HANDLER = f"""
    sidt [{SAVED:#x}]
    lea rax, [rel handler]
    mov edi, {IDT:#x} + 16 * {NMI}
    mov [rdi], ax
    mov [rdi + 2], cs
    mov word [rdi + 4], 0x8E00
    shr rax, 16
    mov [rdi + 6], eax
    mov word [{POINTER:#x}], 0xFFF
    mov qword [{POINTER:#x} + 2], {IDT:#x}
    lidt [{POINTER:#x}]
    send_nmi
    wait_a_little
    lidt [{SAVED:#x}]
    jmp done
handler:
    inc ebx
    cmp ebx, 1
    jne back
    push rcx
    {{masking}}
    send_nmi
    mov esi, ebx
    pop rcx
back:
    iretq
done:
"""
"""EBX: NMIs that were taken; ESI: how many of them before the first one's handler had returned."""


def step(text: str, name: str) -> Step:
    """A step whose code may write SMM_CTL and send NMIs."""
    return code(_MACROS + source(text), name=name)


STEPS = Program(
    steps=(
        step("send_nmi\ninc ebx", "at once"),
        step(HELD, "held"),
        step(IN_HANDLER.format(masking=""), "handler"),
        step(IN_HANDLER.format(masking="smm_ctl ENTER\nsmm_ctl EXIT"), "handler with ENTER and EXIT"),
    )
)


def is_held(ran: Seen) -> None:
    """Without ENTER an NMI is taken at once, and with it at EXIT."""
    seen = [(ran[name].vector, ran[name].registers["rbx"]) for name in ("at once", "held")]
    assert seen == [(NMI, 0), (NMI, 1)]


@requirement("SVM-15.30.3-005")
@executes({"": STEPS})
def test_enter_holds_nmis_until_exit(ran: Seen) -> None:
    """An NMI that comes after SMM_CTL.ENTER was written is held, and taken once EXIT is."""
    is_held(ran)


@requirement("SVM-15.30.3-006")
@executes({"": STEPS})
def test_exit_restores_the_masking_of_nmis(ran: Seen) -> None:
    """ENTER and EXIT in the handler of an NMI leave NMIs masked until its IRET, and elsewhere unmasked."""
    is_held(ran)
    for name in ("handler", "handler with ENTER and EXIT"):
        left = ran[name].registers
        assert (ran[name].vector, left["rbx"], left["rsi"]) == (None, 2, 1), name
