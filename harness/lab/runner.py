"""Runs programs on an engine: one alone, or many in a boot.

What hangs or crashes is attributed to its program and step; the others go on after it in a new boot.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from harness.errors import EngineError
from harness.lab import wire
from harness.lab.payload import Left, Payload
from harness.lab.program import Program
from harness.lab.seen import Seen, StepSeen
from harness.machine.ending import Ending, How

FINISHED = 0x50
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

    __slots__ = ("_left", "_result", "ended", "number", "program", "under_way")

    def __init__(
        self, number: int, program: Program, left: Left, result: wire.Result | None, ended: Ending, under_way: int = 0
    ) -> None:
        self.number = number
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
        return _seen(self._left, self.program, self.ended, self.steps(), self.under_way)


def run_all(
    engine: Executes,
    programs: Sequence[Program],
    cpu: str,
    folder: Path | None = None,
    tick: Callable[[int], None] = lambda done: None,
) -> Iterator[Done]:
    """Let the probe execute many programs, as many as possible in each boot, and tell of each in order.

    Their ``faults`` are not seeded: such a program needs a boot of its own. ``tick`` is told how many more are done.
    Raises :class:`EngineError` when the engine does not even start the first program.
    """
    with tempfile.TemporaryDirectory(prefix="svmconf-") as scratch:
        for start, chunk in _chunks(programs, engine.room):
            for done in _batch(engine, chunk, start, cpu, folder or Path(scratch)):
                yield done
                tick(1)


def _chunks(programs: Sequence[Program], room: int) -> Iterator[tuple[int, tuple[Program, ...]]]:
    """Programs that fit into one boot, and the number of the first."""
    start = size = 0
    for number, program in enumerate(programs):
        length = 64 + sum(24 + len(content) for content in program.regions.values()) + 16 * len(program.watches)
        length += sum(len(step.encoded) for step in program.steps)
        if number > start and (size + length > room or number - start >= _MOST_PROGRAMS):
            yield start, tuple(programs[start:number])
            start, size = number, 0
        size += length
    if start < len(programs):
        yield start, tuple(programs[start:])


def _batch(engine: Executes, chunk: tuple[Program, ...], start: int, cpu: str, folder: Path) -> Iterator[Done]:
    first = 0
    while first < len(chunk):
        rest = chunk[first:]
        seconds = max(program.seconds for program in rest) + _SLACK * len(rest)
        left = engine.carry_out(Payload(chunk, first, seconds=seconds, patience=_PATIENCE), cpu, folder)
        head = left.head
        if head is None:
            raise EngineError(f"{engine.name} did not come to the first program: the machine {left.ended}")
        last = first + head.ended
        finished = Ending(how=How.EXITED, code=FINISHED)
        interrupted: wire.Result | None = None
        for result in left.programs():
            if result.number < last:
                yield Done(start + result.number, chunk[result.number], left, result, finished)
            else:
                interrupted = result
        if head.program is None:
            return
        if head.full and head.ended:
            first = head.program
        else:
            yield Done(start + head.program, chunk[head.program], left, interrupted, left.ended, head.step)
            first = head.program + 1


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
