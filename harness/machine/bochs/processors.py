"""What Bochs' processor models are, asked of Bochs itself: the names of its command line, and CPUID of each."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from harness.boot import Fault, Insn
from harness.deadline import Deadline
from harness.errors import EngineError
from harness.machine.bochs.machine import BochsMachine, Setup
from harness.machine.bochs.rom import ask_at, bare

_VENDOR, _EXTENDED, _FEATURES, _SVM_LEAF = 0, 0x8000_0000, 0x8000_0001, 0x8000_000A
_SVM, _LONG_MODE, _NPT = 1 << 2, 1 << 29, 1 << 0
_CPUID_LENGTH = 2
_SECONDS = 20.0

Leaf = tuple[int, int, int, int]
"""EAX, EBX, ECX, EDX."""


class Processor(BaseModel):
    """What a model's CPUID returns in the leaves that SVM is about."""

    model_config = ConfigDict(frozen=True)

    leaves: dict[int, Leaf]

    @property
    def vendor(self) -> str:
        """Its vendor string."""
        _, ebx, ecx, edx = self.leaves[_VENDOR]
        return b"".join(part.to_bytes(4, "little") for part in (ebx, edx, ecx)).decode("latin-1")

    @property
    def long_mode(self) -> bool:
        """Whether it has 64-bit mode."""
        return self.leaves[_EXTENDED][0] >= _FEATURES and bool(self.leaves[_FEATURES][3] & _LONG_MODE)

    @property
    def svm(self) -> bool:
        """Whether it has SVM."""
        return self.leaves[_EXTENDED][0] >= _SVM_LEAF and bool(self.leaves[_FEATURES][2] & _SVM)

    @property
    def npt(self) -> bool:
        """Whether it has nested paging."""
        return self.svm and bool(self.leaves[_SVM_LEAF][3] & _NPT)

    def agrees(self, fault: Fault) -> bool:
        """Whether CPUID here returns by itself what the fault would have it return."""
        if fault.insn is not Insn.CPUID or fault.select not in self.leaves:
            return False
        registers = dict(zip(("rax", "rbx", "rcx", "rdx"), self.leaves[fault.select], strict=True))
        return all(registers[name] & (on | off) == on for name, (on, off) in fault.force.items())


def names(help_text: str) -> list[str]:
    """The models in what ``--help cpu`` says."""
    _, _, listed = help_text.partition("Supported CPU models:")
    return listed.strip().split("\n\n")[0].split()


def ask(setup: Setup, folder: Path) -> Processor | None:
    """One model; ``None`` for one that has no CPUID, or with which Bochs does not start."""
    setup = dataclasses.replace(setup, rom=bare())
    try:
        with BochsMachine(setup, folder, Deadline.after(_SECONDS)) as machine:
            leaves = {leaf: _leaf(machine, leaf) for leaf in (_VENDOR, _EXTENDED, _FEATURES, _SVM_LEAF)}
    except EngineError:
        return None
    return Processor(leaves=leaves)


def _leaf(machine: BochsMachine, leaf: int) -> Leaf:
    """CPUID, executed by hand before the machine's first instruction."""
    debugger = machine.debugger
    for name, value in (("rip", ask_at()), ("rax", leaf), ("rcx", 0)):
        debugger.write_register(name, value)
    debugger.step()
    after = debugger.state()
    if after.rip != ask_at() + _CPUID_LENGTH:
        raise EngineError("this processor has no CPUID")
    return after["rax"], after["rbx"], after["rcx"], after["rdx"]
