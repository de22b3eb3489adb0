"""VM_CR.R_INIT: an INIT becomes a security exception (15.30.1, 15.28)."""

from harness.cases import executes, requirement
from harness.lab.program import Program
from harness.lab.seen import Seen
from harness.lab.steps import code, enable_svm, rdmsr, wrmsr
from harness.msr import Msr, VmCr

SX = 30
APIC = 0xFEE0_0000
COUNTED, LENGTH = 500, 2
INIT = 5 << 8 | 1 << 14

SENDS_INIT = f"""
    mov ecx, {Msr.VM_CR:#x}
    rdmsr
    test al, {VmCr.R_INIT:#x}
    jz never
    mov edi, {APIC:#x}
    mov dword [rdi + 0xF0], 0x1FF
    mov edx, [rdi + 0x20]
    mov [rdi + 0x310], edx
    mov dword [rdi + 0x300], {INIT:#x}
    times {COUNTED} inc ebx
never:
"""
"""To its own local APIC, by its number: the shorthand for itself sends interrupts alone. EBX counts what runs then.

Not without R_INIT: it would reset the processor."""

INIT_AS_EXCEPTION = {
    "": Program(steps=(wrmsr(Msr.VM_CR, VmCr.R_INIT), rdmsr(Msr.VM_CR), code(SENDS_INIT, name="INIT")))
}


@requirement("SVM-15.30.1-008", "SVM-15.28-001")
@executes(INIT_AS_EXCEPTION)
def test_init_becomes_a_security_exception(ran: Seen) -> None:
    """With VM_CR.R_INIT=1 an INIT raises #SX, vector 30, with error code 1, and does not reset the processor."""
    assert ran[1].value & VmCr.R_INIT, "R_INIT could not be set"
    assert (ran["INIT"].vector, ran["INIT"].error) == (SX, 1)


@requirement("SVM-15.28-003")
@executes(INIT_AS_EXCEPTION)
def test_security_exception_is_a_fault(ran: Seen) -> None:
    """The RIP that #SX pushes is that of the first instruction that was not executed."""
    assert ran[1].value & VmCr.R_INIT, "R_INIT could not be set"
    assert ran["INIT"].vector == SX
    first = len(ran.program.steps[2].code) - COUNTED * LENGTH
    assert ran["INIT"].rip == first + ran["INIT"].registers["rbx"] * LENGTH


SENDS_WITHOUT_GIF = f"clgi\n{SENDS_INIT}\nstgi\ntimes {COUNTED // 2} inc esi"
"""ESI counts what runs behind STGI."""

HELD = {
    "": Program(
        steps=(
            *enable_svm(),
            wrmsr(Msr.VM_CR, VmCr.R_INIT),
            rdmsr(Msr.VM_CR),
            code(SENDS_INIT, name="at once"),
            code(SENDS_WITHOUT_GIF, name="held"),
        )
    )
}


@requirement("SVM-15.28-002")
@executes(HELD)
def test_init_is_redirected_when_gif_is_set(ran: Seen) -> None:
    """An INIT that comes with GIF=0 raises #SX behind STGI and not before, where with GIF=1 it does so at once."""
    assert ran[3].value & VmCr.R_INIT, "R_INIT could not be set"
    at_once, held = ran["at once"], ran["held"]
    assert (at_once.vector, held.vector) == (SX, SX)
    assert at_once.registers["rbx"] < COUNTED, "it never came with GIF=1"
    assert held.registers["rbx"] == COUNTED, f"#SX after {held.registers['rbx']} of {COUNTED} instructions with GIF=0"
