"""Whether a run's ledger is complete and unaltered: the seal, the arithmetic, the evidence, the list of cases."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from harness import ledger, suite
from harness.errors import SvmconfError
from harness.ledger import Ledger, Seal, Verdict


def problems(path: Path) -> Iterator[str]:
    """What is wrong with the ledger in a file, a line each; raise :class:`SvmconfError` when it cannot be read."""
    yield from _seal(path)
    found = ledger.read(path)
    yield from _arithmetic(found)
    yield from _evidence(found)
    yield from _cases(found)


def _seal(path: Path) -> Iterator[str]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SvmconfError(f"cannot read the ledger {path}: {error.strerror}") from error
    body, _, last = content.removesuffix(b"\n").rpartition(b"\n")
    try:
        seal = Seal.model_validate_json(last)
    except ValidationError:
        yield "it has no seal: the run did not end, or lines are missing at its end"
        return
    sealed = body + b"\n"
    lines = sealed.count(b"\n")
    if lines != seal.lines:
        yield f"it has {lines} lines, its seal says {seal.lines}"
    if hashlib.sha256(sealed).hexdigest() != seal.sha256:
        yield "it was altered: its lines are not those that the seal was made for"


def _arithmetic(found: Ledger) -> Iterator[str]:
    if len(found.entries) != len(found.planned):
        yield f"{len(found.planned)} cases were planned and {len(found.entries)} have a verdict"
    if sum(found.counts.values()) != len(found.planned):
        yield f"the verdicts do not add up: {found.arithmetic()}"
    if lost := [entry.case for entry in found.entries if entry.lost]:
        yield f"{len(lost)} cases left no verdict, the first is {lost[0]}"
    if found.elsewhere:
        yield f"{len(found.elsewhere)} cases belong to shards that are not in it"


def _evidence(found: Ledger) -> Iterator[str]:
    without = [
        entry.case
        for entry in found.entries
        if entry.verdict in (Verdict.PASS, Verdict.FAIL, Verdict.EXPECTED_FAIL) and entry.evidence not in found.evidence
    ]
    if without:
        yield f"{len(without)} verdicts have no evidence, the first is {without[0]}"
    programs = {id: found.evidence[id].program for id in found.evidence}
    if others := [e.case for e in found.entries if e.program != programs.get(e.evidence, "")]:
        yield f"{len(others)} entries name another program than their evidence shows, the first is {others[0]}"
    versions = {engine.name: engine.version for engine in found.header.engines}
    for entry in found.entries:
        if versions.get(entry.engine, entry.engine_version) != entry.engine_version:
            yield f"{entry.case} ran on {entry.engine} {entry.engine_version}, the header says {versions[entry.engine]}"
            return


def _cases(found: Ledger) -> Iterator[str]:
    known = {
        f"conformance/{name.replace('::', '.py::')}" for m in ("boots", "executes") for name, _, _ in suite.cases(m)
    }
    has = {entry.function for entry in found.entries}
    if missing := sorted(known - has):
        yield f"{len(missing)} cases of this suite are not in it, the first is {missing[0]}"
    if unknown := sorted(has - known):
        yield f"{len(unknown)} cases of it are not in this suite, the first is {unknown[0]}"
