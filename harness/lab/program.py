"""Programs for the probe, as plain data, in the format of docs/protocol.md ("The probe").

>>> from harness.msr import Msr
>>> program = Program(steps=(wrmsr(Msr.EFER, 0x1500), execute(Insn.VMRUN, rax=0x1000008)))
>>> len(program.encode())
272
"""

from __future__ import annotations

import struct
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, model_validator

from harness.boot import Fault, Insn
from harness.errors import ImageError
from harness.machine.base import Memory
from harness.machine.ending import Ending
from harness.machine.image import Image
from harness.observation import Blob

REGISTERS = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11")
SCRATCH = 0x0100_0000
"""Physical address of the scratch memory for regions: 16 MiB to 32 MiB."""

_SECTION_SIZE = 0x1_0000
_NO_FAULT = 0xFFFF_FFFF
_HEADER = struct.Struct("<4sHHH6x")
_REGION = struct.Struct("<QII")
_STEP = struct.Struct("<BB46s10Q")
_RESULTS = struct.Struct("<4sIII")
_RESULT = struct.Struct("<IIQQQQ10QQ")


class Step(BaseModel):
    """64-bit code that is executed at a CPL with these registers (64-bit numbers by name; 0 when absent)."""

    model_config = ConfigDict(frozen=True)

    code: Blob
    cpl: int = Field(default=0, json_schema_extra={"enum": [0, 3]})
    registers: dict[str, int] = {}

    @model_validator(mode="after")
    def _fits(self) -> Step:
        if len(self.code) > 46:
            raise ValueError(f"a step has at most 46 bytes of code, not {len(self.code)}")
        if self.cpl not in (0, 3):
            raise ValueError("a step runs at CPL 0 or 3")
        if unknown := set(self.registers) - set(REGISTERS):
            raise ValueError(f"a step cannot preset {', '.join(sorted(unknown))}")
        return self


def execute(insn: Insn, *, cpl: int = 0, **registers: int) -> Step:
    """One instruction."""
    return Step(code=insn.opcodes[0], cpl=cpl, registers=registers)


def rdmsr(msr: int, *, cpl: int = 0) -> Step:
    """Read an MSR; :attr:`StepSeen.value` holds it."""
    return execute(Insn.RDMSR, cpl=cpl, rcx=msr)


def wrmsr(msr: int, value: int, *, cpl: int = 0) -> Step:
    """Write an MSR."""
    return execute(Insn.WRMSR, cpl=cpl, rcx=msr, rax=value & 0xFFFFFFFF, rdx=value >> 32)


def cpuid(leaf: int) -> Step:
    """Execute CPUID."""
    return execute(Insn.CPUID, rax=leaf)


class Program(BaseModel):
    """Memory to fill (physical address: bytes) and steps to take. ``faults`` are seeded defects of the engine."""

    model_config = ConfigDict(frozen=True)

    regions: dict[int, Blob] = {}
    steps: tuple[Step, ...]
    faults: tuple[Fault, ...] = ()
    seconds: float = 10.0

    def encode(self) -> bytes:
        """The bytes for the probe's program section; raise :class:`ValueError` when they do not fit."""
        tables = _HEADER.size + _REGION.size * len(self.regions) + _STEP.size * len(self.steps)
        head = _HEADER.pack(b"SVMP", 1, len(self.regions), len(self.steps))
        regions = data = b""
        for address, content in self.regions.items():
            regions += _REGION.pack(address, len(content), tables + len(data))
            data += content
        steps = b"".join(
            _STEP.pack(step.cpl, len(step.code), step.code, *(step.registers.get(name, 0) for name in REGISTERS))
            for step in self.steps
        )
        encoded = head + regions + steps + data
        if len(encoded) > _SECTION_SIZE:
            raise ValueError(f"the program has {len(encoded)} bytes, the probe takes {_SECTION_SIZE}")
        return encoded

    def into(self, probe: Image, copy: Path) -> Image:
        """A copy of the probe's image that carries this program."""
        _, size, offset = probe.section(".svmconf.program")
        if size < _SECTION_SIZE:
            raise ImageError(f"{probe.path}: section .svmconf.program has {size:#x} bytes, not {_SECTION_SIZE:#x}")
        encoded = self.encode()
        copy.write_bytes(probe.data[:offset] + encoded + probe.data[offset + len(encoded) :])
        return Image(copy)


class NeverEnded(AssertionError):
    """A step that is judged never ended: the processor did something else than what the manual says, and went away."""


class StepSeen(BaseModel):
    """What one step did: the fault's vector (``None``: it ran to its end), and the registers after it.

    ``answered_by`` names the layer that answered it, on an engine that has several and can tell.
    """

    model_config = ConfigDict(frozen=True)

    vector: int | None
    error: int
    rip: int
    cr2: int
    efer: int
    rflags: int
    registers: dict[str, int]
    vm_hsave_pa: int
    answered_by: str = ""

    @property
    def value(self) -> int:
        """EDX:EAX, as RDMSR returns it."""
        return (self.registers["rdx"] & 0xFFFFFFFF) << 32 | self.registers["rax"] & 0xFFFFFFFF


class Seen(BaseModel):
    """The observation of a program: a result for each step that ended, and how the machine ended."""

    model_config = ConfigDict(frozen=True)

    engine: str
    engine_version: str
    cpu: str
    command: list[str]
    ended: Ending
    program: Program
    steps: list[StepSeen] = []
    under_way: int = 0
    layers: list[str] = []
    console: str = ""
    seconds: float = 0.0
    boot_seconds: float = 0.0

    def __getitem__(self, step: int) -> StepSeen:
        try:
            return self.steps[step]
        except IndexError:
            raise NeverEnded(f"step {step} never ended: the machine {self.ended}") from None


def results(probe: Image, ram: Memory) -> tuple[list[StepSeen], int]:
    """What the probe left in RAM: the steps that ended, and the number (from 1) of the one under way, or 0."""
    address, _, _ = probe.section(".svmconf.results")
    magic, ended, under_way, _ = _RESULTS.unpack(ram.read(address, _RESULTS.size))
    if magic != b"SVMR":
        return [], 0
    return [_result(ram.read(address + _RESULTS.size + 128 * n, 128)) for n in range(ended)], under_way


def _result(data: bytes) -> StepSeen:
    vector, error, rip, cr2, efer, rflags, *registers, hsave = _RESULT.unpack(data)
    return StepSeen(
        vector=None if vector == _NO_FAULT else vector,
        error=error,
        rip=rip,
        cr2=cr2,
        efer=efer,
        rflags=rflags,
        registers=dict(zip(REGISTERS, registers, strict=True)),
        vm_hsave_pa=hsave,
    )
