"""Programs for the probe that several cases share."""

from harness.boot import Insn
from harness.lab.guest import Mode, guest
from harness.lab.places import VMCBS as VMCB
from harness.lab.program import Program
from harness.lab.programs import vmruns
from harness.lab.seen import Seen
from harness.lab.steps import EFER_OF_THE_PROBE, HSAVE, efer_svme, execute, rdmsr, wrmsr
from harness.msr import Msr

__all__ = [
    "EFER_OF_THE_PROBE", "FIRST", "GP", "HIGH_BITS", "HSAVE", "UD", "VMCB", "attempts", "efer_svme", "physical_limit",
    "real_mode_guest",
]  # fmt: skip

UD, GP = 6, 13
HIGH_BITS = tuple(1 << bit for bit in range(32, 52))
"""Addresses on both sides of the end of physical memory, wherever a processor has it (at most 52 bits)."""


def physical_limit(seen: Seen, step: int) -> int:
    """The first address beyond physical memory, from a step that executed CPUID Fn8000_0008: EAX[7:0] bits."""
    return 1 << (seen[step].registers["rax"] & 0xFF)


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
    """Run a guest whose first instruction is VMMCALL."""
    return vmruns(guest(Mode.REAL))
