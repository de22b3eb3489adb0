"""Programs for the probe that several cases share."""

from harness.boot import Insn
from harness.lab.program import SCRATCH, Program, Seen, Step, execute, rdmsr, wrmsr
from harness.lab.vmcb import real_mode
from harness.machine.registers import EFER_SVME
from harness.msr import Msr

UD, GP = 6, 13
HIGH_BITS = tuple(1 << bit for bit in range(32, 52))
"""Addresses on both sides of the end of physical memory, wherever a processor has it (at most 52 bits)."""

VMCB = SCRATCH
HSAVE = SCRATCH + 0x1000
GUEST_CODE = SCRATCH + 0x2000
EFER_OF_A_LONG_MODE_HOST = 0xD00  # NXE, LMA, LME: what the probe runs with


def physical_limit(seen: Seen, step: int) -> int:
    """The first address beyond physical memory, from a step that executed CPUID Fn8000_0008: EAX[7:0] bits."""
    return 1 << (seen[step].registers["rax"] & 0xFF)


def efer_svme(on: bool) -> Step:
    """Set EFER.SVME, or clear it."""
    return wrmsr(Msr.EFER, EFER_OF_A_LONG_MODE_HOST | (EFER_SVME if on else 0))


def attempts(insns: tuple[Insn, ...], *, svme: bool, cpl: int, rax: int = VMCB) -> Program:
    """Execute each instruction with this EFER.SVME, CPL and rAX, after :data:`FIRST` steps that prepare it."""
    return Program(
        regions={VMCB: bytes(0x1000)},
        steps=(
            efer_svme(svme),
            wrmsr(Msr.VM_HSAVE_PA, HSAVE),
            rdmsr(Msr.EFER),
            *(execute(insn, cpl=cpl, rax=rax) for insn in insns),
        ),
    )


FIRST = 3


def real_mode_guest() -> Program:
    """Run a guest whose first instruction is VMMCALL; the last step reads the exit code into RBX."""
    read_exitcode = bytes.fromhex("488b5870")  # mov rbx, [rax + 70h]
    return Program(
        regions={VMCB: real_mode(GUEST_CODE), GUEST_CODE: Insn.VMMCALL.opcodes[0]},
        steps=(
            efer_svme(True),
            wrmsr(Msr.VM_HSAVE_PA, HSAVE),
            Step(code=Insn.VMRUN.opcodes[0] + read_exitcode, registers={"rax": VMCB}),
        ),
    )
