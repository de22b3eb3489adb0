"""VM_CR.DIS_A20M: A20 masking is switched off (15.30.1)."""

from harness.cases import NotRun, executes, requirement
from harness.lab import places
from harness.lab.program import Program, StepMode
from harness.lab.seen import Seen
from harness.lab.steps import code, rdmsr, wrmsr
from harness.msr import Msr, VmCr

LOW = places.LOW_STACK - 16
"""Memory below 1 MiB that nobody needs."""

MARK = 0x5A20_A502

READS = f"""
    mov dword [{LOW:#x}], {MARK:#x}
    mov ax, 0xFFFF
    mov es, ax
    in al, 0x92
    and al, ~3
    out 0x92, al
    mov ebx, [es:{LOW + 16:#x}]
    or al, 2
    out 0x92, al
    mov edx, [es:{LOW + 16:#x}]
"""
"""In real mode, which stands below 1 MiB: EBX is what is read 1 MiB above the mark with A20 masked, EDX without.

Bit 0 of port 92h is written as 0: it resets the machine."""


STEPS = Program(
    steps=(
        code(READS, mode=StepMode.REAL, name="DIS_A20M=0"),
        wrmsr(Msr.VM_CR, VmCr.DIS_A20M),
        rdmsr(Msr.VM_CR),
        code(READS, mode=StepMode.REAL, name="DIS_A20M=1"),
        wrmsr(Msr.VM_CR, 0),
    )
)


@requirement("SVM-15.30.1-009")
@executes({"": STEPS})
def test_dis_a20m_disables_masking(ran: Seen) -> None:
    """With VM_CR.DIS_A20M=1 an address with bit 20 is not masked by the A20 gate; with 0 it is."""
    masked, unmasked = (ran["DIS_A20M=0"].registers[name] & 0xFFFF_FFFF for name in ("rbx", "rdx"))
    if masked != MARK or unmasked == MARK:
        raise NotRun("the machine has no A20 gate at port 92h")
    assert ran[2].value & VmCr.DIS_A20M, "DIS_A20M could not be set"
    assert ran["DIS_A20M=1"].registers["rbx"] & 0xFFFF_FFFF == unmasked
