"""Runs programs on an engine: one alone, or many in a boot.

What hangs or crashes is attributed to its program and step; the others go on after it in a new boot.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

from harness.lab import wire
from harness.lab.payload import Left, Payload
from harness.lab.program import Program
from harness.lab.seen import Seen, StepSeen
from harness.machine.ending import Ending, How

_FINISHED = Ending(how=How.EXITED, code=0x50)
"""The probe's outcome ``program-finished``."""

_MOST_PROGRAMS = 20_000
_PATIENCE = 3.0
_SLACK = 0.005
"""Seconds that each program of a batch may take, on average, besides what the slowest may."""


class Executes(Protocol):
    """What is needed of an engine."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def room(self) -> int:
        """Bytes of programs that one boot takes."""

    def carry_out(self, payload: Payload, cpu: str, folder: Path) -> Left:
        """Boot a payload, and bring back what it left."""


def run(engine: Executes, program: Program, cpu: str, folder: Path) -> Seen:
    """Let the probe execute one program, in a boot of its own."""
    left = engine.carry_out(Payload.of(program), cpu, folder)
    head = left.head
    found = next(left.programs(), None)
    steps = found.steps(program) if found else []
    answers = left.answers if len(left.answers) == len(steps) else ("",) * len(steps)
    steps = [s.model_copy(update={"answered_by": a}) if a else s for s, a in zip(steps, answers, strict=True)]
    return _seen(left, program, left.ended, steps, head.step if head else 0)


class Done:
    """What came of one program of a batch; its steps are decoded when they are asked for."""

    __slots__ = ("_batch", "_left", "_result", "ended", "number", "program", "under_way")

    def __init__(
        self,
        number: int,
        batch: wire.Batch,
        program: Program,
        left: Left,
        result: wire.Result | None,
        ended: Ending,
        under_way: int = 0,
    ) -> None:
        self.number = number
        self._batch = batch
        self.program = program
        self.ended = ended
        self.under_way = under_way
        self._left = left
        self._result = result

    @property
    def records(self) -> list[bytes]:
        """The probe's record of each step that ended (:mod:`harness.lab.wire`): for who compares them as they are."""
        return list(self._result.records()) if self._result else []

    def steps(self) -> list[StepSeen]:
        """What each step did that ended."""
        return self._result.steps(self.program) if self._result else []

    def seen(self) -> Seen:
        """The whole observation."""
        program = self.program
        if self._batch.shared:
            program = program.model_copy(update={"regions": {**self._batch.shared, **program.regions}})
        return _seen(self._left, program, self.ended, self.steps(), self.under_way)


def run_all(
    engine: Executes,
    programs: Iterable[Program],
    cpu: str,
    folder: Path | None = None,
    shared: Mapping[int, bytes] | None = None,
) -> Iterator[Done]:
    """Let the probe execute many programs, as many as possible in each boot, and tell of each in order.

    Their ``faults`` are not seeded: such a program needs a boot of its own.

    :param shared: regions that are loaded before each program's own.
    """
    with tempfile.TemporaryDirectory(prefix="svmconf-") as scratch:
        start = 0
        for batch in _batches(programs, shared or {}, engine.room):
            yield from _batch(engine, batch, start, cpu, folder or Path(scratch))
            start += len(batch.programs)


def _batches(programs: Iterable[Program], shared: Mapping[int, bytes], room: int) -> Iterator[wire.Batch]:
    """Programs that fit into one boot."""
    batch = wire.Batch(shared, room)
    for program in programs:
        if len(batch.programs) == _MOST_PROGRAMS or not batch.add(program):
            yield batch
            batch = wire.Batch(shared, room)
            batch.add(program)
    if batch.programs:
        yield batch


def _batch(engine: Executes, batch: wire.Batch, start: int, cpu: str, folder: Path) -> Iterator[Done]:
    first, programs = 0, batch.programs
    slowest = max(program.seconds for program in programs)
    while first < len(programs):
        seconds = slowest + _SLACK * (len(programs) - first)
        left = engine.carry_out(Payload(batch, first, seconds=seconds, patience=_PATIENCE), cpu, folder)
        head = left.head
        if head is None:
            yield from _halves(engine, batch, first, start, cpu, folder, left)
            return
        last = first + head.ended
        interrupted: wire.Result | None = None
        for result in left.programs():
            if result.number < last:
                yield Done(start + result.number, batch, programs[result.number], left, result, _FINISHED)
            else:
                interrupted = result
        if head.program is None:
            return
        if head.full and head.ended:
            first = head.program
        else:
            died = programs[head.program]
            yield Done(start + head.program, batch, died, left, interrupted, left.ended, head.step)
            first = head.program + 1


def _halves(
    engine: Executes, batch: wire.Batch, first: int, start: int, cpu: str, folder: Path, left: Left
) -> Iterator[Done]:
    """An engine that crashed took its memory along: which program it was is found by halving."""
    rest = batch.programs[first:]
    if len(rest) == 1:
        yield Done(start + first, batch, rest[0], left, None, left.ended)
        return
    middle = len(rest) // 2
    for begin, half in ((0, rest[:middle]), (middle, rest[middle:])):
        smaller = wire.Batch(batch.shared)
        for program in half:
            smaller.add(program)
        yield from _batch(engine, smaller, start + first + begin, cpu, folder)


def _seen(left: Left, program: Program, ended: Ending, steps: list[StepSeen], under_way: int) -> Seen:
    return Seen(
        engine=left.engine,
        engine_version=left.engine_version,
        cpu=left.cpu,
        command=left.command,
        ended=ended,
        program=program,
        steps=steps,
        under_way=under_way,
        layers=list(left.layers),
        console=left.console,
        seconds=left.seconds,
        boot_seconds=left.boot_seconds,
    )
