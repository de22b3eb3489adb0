"""Programs for the probe, as plain data: memory to fill, memory to watch, and steps to take (docs/lab.md).

>>> from harness.lab.steps import execute, wrmsr
>>> from harness.msr import Msr
>>> program = Program(steps=(wrmsr(Msr.EFER, 0x1500), execute(Insn.VMRUN, rax=0x1000008)))
>>> [step.code.hex(" ") for step in program.steps]
['0f 30', '0f 01 d8']
"""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, model_validator

from harness.boot import Fault, Insn
from harness.observation import Blob

REGISTERS = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", *(f"r{n}" for n in range(8, 16)))
"""The general-purpose registers in the order of their numbers in instructions."""

SCRATCH = 0x0100_0000
"""Physical address of the scratch memory for regions: 16 MiB to 32 MiB."""

SCRATCH_END = 0x0200_0000
LOW, LOW_END = 0x1_0000, 0x8_0000
"""Scratch memory that real mode reaches."""

MOST_CODE = 2048
"""Bytes of code in one step."""

MOST_WATCHED = 1 << 20
"""Bytes of watched memory in one program."""

_ANY_CPL = range(4)


class StepMode(StrEnum):
    """The operating mode in which the code of a step runs, in the order of their numbers in docs/protocol.md."""

    LONG = "64-bit mode"
    COMPATIBILITY = "compatibility mode"
    COMPATIBILITY_16 = "16-bit compatibility mode"
    PROTECTED = "protected mode"
    PROTECTED_16 = "16-bit protected mode"
    REAL = "real mode"
    V86 = "virtual-8086 mode"
    PAE = "protected mode with PAE paging"

    @property
    def bits(self) -> int:
        """The default operand size of its code: 16, 32 or (for 64-bit mode) 64."""
        if self is StepMode.LONG:
            return 64
        return 32 if self in (StepMode.COMPATIBILITY, StepMode.PROTECTED, StepMode.PAE) else 16

    @property
    def low(self) -> bool:
        """Whether its code must lie below 1 MiB."""
        return self in (StepMode.REAL, StepMode.V86)

    @property
    def cpls(self) -> range:
        """The privilege levels that it has."""
        return {StepMode.REAL: range(1), StepMode.V86: range(3, 4)}.get(self, _ANY_CPL)


class Step(BaseModel):
    """Code that is executed in a mode at a CPL, with these registers (by name; 0 when absent, RSP a stack).

    :param rflags: what RFLAGS holds at its start; interrupts are off when absent. An interrupt ends the step.
    :param xmm: XMM0 to XMM15 at its start, 128-bit numbers; they are recorded after it then.
    :param look: record what changed in the watched memory.
    :param state: record EFER and VM_HSAVE_PA after it.
    :param time: record the TSC's difference around it.
    :param vmcb: physical address of the VMCB, when it executes VMRUN.
    :param name: what it is called in messages and reports.

    Raises :class:`ValueError` for what the probe cannot execute.
    """

    model_config = ConfigDict(frozen=True)

    code: Blob
    mode: StepMode = StepMode.LONG
    cpl: int = 0
    registers: dict[str, int] = {}
    rflags: int | None = None
    xmm: tuple[int, ...] | None = None
    look: bool = True
    state: bool = True
    time: bool = False
    vmcb: int | None = None
    name: str = ""

    @model_validator(mode="after")
    def _possible(self) -> Step:
        if not 1 <= len(self.code) <= MOST_CODE:
            raise ValueError(f"a step has 1 to {MOST_CODE} bytes of code, not {len(self.code)}")
        if self.cpl not in self.mode.cpls:
            raise ValueError(f"there is no CPL {self.cpl} in {self.mode}")
        if unknown := set(self.registers) - set(REGISTERS):
            raise ValueError(f"a step cannot preset {', '.join(sorted(unknown))}")
        if self.xmm is not None and len(self.xmm) != 16:
            raise ValueError(f"there are 16 XMM registers, not {len(self.xmm)}")
        return self


class Program(BaseModel):
    """What the probe does: fill memory (physical address: bytes), watch memory (physical address: size), take steps.

    :param faults: seeded defects of the engine.
    :param seconds: how long it may take.
    :param thorough: also bring MSRs, local APIC and interrupt controllers back before it, where other programs ran
        before it in the same boot.

    Raises :class:`ValueError` for what the probe refuses.
    """

    model_config = ConfigDict(frozen=True)

    regions: dict[int, Blob] = {}
    watches: dict[int, int] = {}
    steps: tuple[Step, ...]
    faults: tuple[Fault, ...] = ()
    seconds: float = 10.0
    thorough: bool = True

    @model_validator(mode="after")
    def _possible(self) -> Program:
        for address, content in self.regions.items():
            end = address + len(content)
            if not (SCRATCH <= address <= end <= SCRATCH_END or LOW <= address <= end <= LOW_END):
                raise ValueError(f"{address:#x}..{end:#x} is not in the probe's scratch memory")
        if any(address % 8 or size % 8 or size <= 0 for address, size in self.watches.items()):
            raise ValueError("watched memory begins and ends on multiples of 8")
        if sum(self.watches.values()) > MOST_WATCHED:
            raise ValueError(f"at most {MOST_WATCHED} bytes can be watched")
        return self

    def memory(self, address: int, size: int) -> bytes:
        """What the regions put there; the rest is 0."""
        found = bytearray(size)
        for start, content in self.regions.items():
            low, high = max(start, address), min(start + len(content), address + size)
            if low < high:
                found[low - address : high - address] = content[low - start : high - start]
        return bytes(found)


__all__ = [
    "LOW",
    "LOW_END",
    "MOST_CODE",
    "MOST_WATCHED",
    "REGISTERS",
    "SCRATCH",
    "SCRATCH_END",
    "Insn",
    "Program",
    "Step",
    "StepMode",
]
