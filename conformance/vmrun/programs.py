"""Programs for the probe that several cases share."""

from harness.boot import Insn
from harness.lab.program import SCRATCH, Program, Step, execute, rdmsr, wrmsr
from harness.machine.registers import EFER_SVME
from harness.msr import Msr

UD, GP = 6, 13
VMCB = SCRATCH
HSAVE = SCRATCH + 0x1000
EFER_OF_A_LONG_MODE_HOST = 0xD00  # NXE, LMA, LME: what the probe runs with


def efer_svme(on: bool) -> Step:
    """Set EFER.SVME, or clear it."""
    return wrmsr(Msr.EFER, EFER_OF_A_LONG_MODE_HOST | (EFER_SVME if on else 0))


def each(insns: tuple[Insn, ...], *, svme: bool, cpl: int, rax: int = VMCB) -> dict[str, Program]:
    """One program for each instruction: the last step executes it, the one before reads EFER."""
    return {
        str(insn): Program(
            regions={VMCB: bytes(0x1000)},
            steps=(
                efer_svme(svme),
                wrmsr(Msr.VM_HSAVE_PA, HSAVE),
                rdmsr(Msr.EFER),
                execute(insn, cpl=cpl, rax=rax),
            ),
        )
        for insn in insns
    }
