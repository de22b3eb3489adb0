"""Steps for programs: one instruction, an MSR, code in assembly language, VMRUN."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.boot import Insn
from harness.lab.assemble import assemble
from harness.lab.program import SCRATCH, Step, StepMode
from harness.machine.registers import EFER_SVME
from harness.msr import Msr

HSAVE = SCRATCH + 0x10_0000
"""Physical address of the host save area that :func:`enable_svm` sets."""

EFER_OF_THE_PROBE = 0xD00
"""NXE, LMA, LME: what the probe runs with, in long mode."""


def execute(insn: Insn, *, cpl: int = 0, mode: StepMode = StepMode.LONG, **registers: int) -> Step:
    """One instruction."""
    return Step(code=insn.opcodes[0], mode=mode, cpl=cpl, registers=registers, name=str(insn))


def code(source: str | bytes, *, mode: StepMode = StepMode.LONG, cpl: int = 0, **how: Any) -> Step:
    """Code in NASM's language, or bytes; keywords are registers or what :class:`Step` takes besides.

    >>> code("mov cr8, rax", rax=3).code.hex(" ")
    '44 0f 22 c0'
    """
    registers = {name: value for name, value in how.items() if name not in Step.model_fields}
    others = {name: value for name, value in how.items() if name in Step.model_fields}
    binary = source if isinstance(source, bytes) else assemble(source, mode.bits)
    name = source.strip() if isinstance(source, str) and "\n" not in source.strip() else ""
    return Step(code=binary, mode=mode, cpl=cpl, registers=registers, **({"name": name} | others))


def rdmsr(msr: int, *, cpl: int = 0) -> Step:
    """Read an MSR; :attr:`harness.lab.seen.StepSeen.value` holds it."""
    return execute(Insn.RDMSR, cpl=cpl, rcx=msr)


def wrmsr(msr: int, value: int, *, cpl: int = 0) -> Step:
    """Write an MSR."""
    return execute(Insn.WRMSR, cpl=cpl, rcx=msr, rax=value & 0xFFFF_FFFF, rdx=value >> 32)


def cpuid(leaf: int, subleaf: int = 0) -> Step:
    """Execute CPUID."""
    return execute(Insn.CPUID, rax=leaf, rcx=subleaf)


def efer_svme(on: bool) -> Step:
    """Set EFER.SVME, or clear it (15.4)."""
    return wrmsr(Msr.EFER, EFER_OF_THE_PROBE | (EFER_SVME if on else 0))


def enable_svm(hsave: int = HSAVE) -> tuple[Step, Step]:
    """EFER.SVME set, and a host save area (15.4, 15.30.4)."""
    return efer_svme(True), wrmsr(Msr.VM_HSAVE_PA, hsave)


def vmrun(
    vmcb: int, registers: Mapping[str, int] | None = None, *, mode: StepMode = StepMode.LONG, name: str = "VMRUN"
) -> Step:
    """VMRUN with the VMCB at that physical address; the registers are the guest's, too, but for RAX and RSP."""
    given = {**(registers or {}), "rax": vmcb}
    return Step(code=Insn.VMRUN.opcodes[0], mode=mode, registers=given, vmcb=vmcb, name=name)
