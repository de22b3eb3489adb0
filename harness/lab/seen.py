"""What came back of a program: the observation that cases judge."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

from harness.lab.program import Program
from harness.machine.ending import Ending
from harness.machine.vmcb import FIELDS, Vmcb

_PAGE = 0x1000


NEVER_ENDED = "never ended"
"""Words of whatever is said of a step that never ended: a ledger's reader knows a hang by them."""


class NeverEnded(AssertionError):
    """A step that is judged never ended: the processor did something else than what the manual says, and went away."""


class StepSeen(BaseModel):
    """What one step did: the fault's vector (``None``: it ran to its end), and the registers after it.

    :param rip: relative to the start of the step's code.
    :param registers: all sixteen, by name.
    :param changes: watched memory that has another content after the step: physical address of 8 bytes, new value.
    :param efer: EFER after it, :param vm_hsave_pa: VM_HSAVE_PA after it; 0 where the step did not ask for them.
    :param time: by how much the TSC went on, where the step asked for it.
    :param answered_by: the layer that answered it, on an engine that has several and can tell.
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
    changes: dict[int, int] = {}
    xmm: tuple[int, ...] | None = None
    time: int | None = None
    answered_by: str = ""

    @property
    def value(self) -> int:
        """EDX:EAX, as RDMSR returns it."""
        return (self.registers["rdx"] & 0xFFFFFFFF) << 32 | self.registers["rax"] & 0xFFFFFFFF


@dataclass(frozen=True)
class VmrunSeen:
    """A VMRUN of a program: the VMCB before it and after it, and the step that it was."""

    name: str
    before: Vmcb
    after: Vmcb
    step: StepSeen

    @property
    def exit(self) -> int | str:
        """The exit code, as 64 bits (:mod:`harness.model.exits` has names), or the fault: ``#13``."""
        return self.after["exitcode"] if self.step.vector is None else f"#{self.step.vector}"

    @property
    def refused(self) -> bool:
        """Whether it came back with VMEXIT_INVALID, be that -1 in 64 bits or in 32."""
        return self.step.vector is None and self.after.refused

    @property
    def info1(self) -> int:
        """EXITINFO1."""
        return self.after["exitinfo1"]

    @property
    def info2(self) -> int:
        """EXITINFO2."""
        return self.after["exitinfo2"]

    def changed(self) -> dict[str, tuple[int, int]]:
        """The fields of the VMCB that differ: before and after."""
        both = {name: (self.before[name], self.after[name]) for name in FIELDS}
        return {name: (old, new) for name, (old, new) in both.items() if old != new}


class Seen(BaseModel):
    """The observation of a program: a result for each step that ended, and how the machine ended.

    Printed in a session, it is the text of :mod:`harness.lab.show`.
    """

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

    def __getitem__(self, step: int | str) -> StepSeen:
        """What a step did, by its place or its name; raise :class:`NeverEnded` when it did not end."""
        number = step if isinstance(step, int) else self._place(step)
        try:
            return self.steps[number]
        except IndexError:
            raise NeverEnded(f"step {step} {NEVER_ENDED}: the machine {self.ended}") from None

    def _place(self, name: str) -> int:
        for number, step in enumerate(self.program.steps):
            if step.name == name:
                return number
        raise KeyError(f"no step of the program is called {name}")

    def memory(self, address: int, size: int, after: int | None = None) -> bytes:
        """What was in watched memory after a step, by its place; before the first step when that is ``None``.

        Raises :class:`ValueError` for memory that was not watched.
        """
        if not any(a <= address and address + size <= a + s for a, s in self.program.watches.items()):
            raise ValueError(f"{address:#x}+{size:#x} was not watched")
        first, last = address & ~7, (address + size + 7) & ~7
        content = bytearray(self.program.memory(first, last - first))
        for step in self.steps[: 0 if after is None else after + 1]:
            for at, value in step.changes.items():
                if first <= at < last:
                    content[at - first : at - first + 8] = value.to_bytes(8, "little")
        return bytes(content[address - first :][:size])

    def vmrun(self, step: int | str = 0) -> VmrunSeen:
        """A VMRUN, by its step's name or by its place among the VMRUNs of the program.

        Raises :class:`NeverEnded` when it did not come back, :class:`KeyError` for a step that is no VMRUN.
        """
        return self.vmrun_at(self._vmruns()[step] if isinstance(step, int) else self._place(step))

    def vmrun_at(self, place: int) -> VmrunSeen:
        """The VMRUN that is the step at a place."""
        one = self.program.steps[place]
        if one.vmcb is None:
            raise KeyError(f"step {place} is no VMRUN")
        did = self[place]
        before = Vmcb(self.memory(one.vmcb, _PAGE, place - 1 if place else None))
        return VmrunSeen(one.name, before, Vmcb(self.memory(one.vmcb, _PAGE, place)), did)

    def vmruns(self) -> Iterator[VmrunSeen]:
        """Every VMRUN of the program, in order; raise :class:`NeverEnded` at the one that did not come back."""
        for number in range(len(self._vmruns())):
            yield self.vmrun(number)

    def _vmruns(self) -> list[int]:
        return [number for number, one in enumerate(self.program.steps) if one.vmcb is not None]

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        from harness.lab import show

        printer.text(show.text(self))
