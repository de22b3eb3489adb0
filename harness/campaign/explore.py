"""Runs specimens on engines and compares: the work of one task, the same wherever it is done."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from harness import build
from harness.campaign.compare import Reading, findings, reading
from harness.campaign.finding import Finding
from harness.campaign.generate import specimen
from harness.campaign.specimen import Specimen
from harness.engines import select
from harness.engines.base import Engine
from harness.errors import SvmconfError
from harness.lab import runner
from harness.model import Cpuid
from harness.model.cpuid import LEAST
from harness.model.explain.evidence import of_cpuid_program
from harness.spec import processor


class Where(BaseModel):
    """An engine by name, and the processor model on it."""

    model_config = ConfigDict(frozen=True)

    engine: str
    cpu: str


class Explored(BaseModel):
    """What came of a chunk of numbers: the first finding of each cause, and how often each came up."""

    chunk: int
    specimens: int = 0
    findings: list[Finding] = []
    counts: dict[str, int] = {}


@cache
def _engine(name: str) -> Engine:
    """Kept in a worker from task to task: what it keeps running is dear."""
    build.probe()
    return select.engine(name)


@cache
def _cpuid(where: Where) -> Cpuid:
    with tempfile.TemporaryDirectory(prefix="svmconf-") as folder:
        seen = runner.run(_engine(where.engine), processor.PROGRAM, where.cpu, Path(folder))
    return of_cpuid_program(seen).over(LEAST)


def explore(seed: int, chunk: int, size: int, on: Sequence[Where]) -> Explored:
    """The findings of the specimens number ``chunk * size`` and those behind it."""
    explored = Explored(chunk=chunk)
    for found in compared([specimen(seed, number) for number in range(chunk * size, (chunk + 1) * size)], on):
        explored.specimens += 1
        for one in found:
            explored.counts[one.cause] = explored.counts.get(one.cause, 0) + 1
            if explored.counts[one.cause] == 1:
                explored.findings.append(one)
    return explored


def compared(specimens: Sequence[Specimen], on: Sequence[Where]) -> Iterator[list[Finding]]:
    """The findings of each specimen, in order."""
    columns = [readings(specimens, where) for where in on]
    for number, one in enumerate(specimens):
        yield list(findings(one, {where.engine: column[number] for where, column in zip(on, columns, strict=True)}))


def readings(specimens: Sequence[Specimen], where: Where) -> list[Reading]:
    """What an engine did with each; an engine that breaks altogether died of all that it had not done."""
    programs = [one.program for one in specimens]
    found: list[Reading] = []
    try:
        cpuid = _cpuid(where)
        done = runner.run_all(_engine(where.engine), programs, where.cpu)
        found.extend(reading(one, cpuid) for one in done)
    except SvmconfError as error:
        why = f"the engine broke: {error}"
        found += [Reading(LEAST, None, why)] * (len(specimens) - len(found))
    return found
