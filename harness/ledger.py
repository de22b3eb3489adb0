"""The ledger: a run's JSON-lines record of every observation and verdict. Every report is a function of it alone.

Each worker appends to a part of its own, a line as it happens, flushed to the disk; at the end the parts are merged. A
run that was killed leaves readable parts.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, SkipValidation, TypeAdapter, ValidationError

import harness
from harness.engines.base import CpuModel
from harness.errors import SvmconfError
from harness.lab.program import Seen
from harness.observation import Observation
from harness.stored import File, Piece, Stored


class Verdict(StrEnum):
    """What came of a case on an engine and CPU model."""

    PASS = "pass"
    FAIL = "fail"
    SKIP = "skip"
    EXPECTED_FAIL = "expected-fail"
    ERROR = "error"
    NOT_RUN = "not-run"

    @property
    def good(self) -> bool:
        """Whether it is as it must be."""
        return self in (Verdict.PASS, Verdict.SKIP, Verdict.EXPECTED_FAIL)


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True)


class EngineLine(BaseModel):
    """An engine of the run: name, exact version, family (for its expectations), why chosen, CPU models chosen on it.

    ``models`` are these and the others that cases ran on.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    version: str
    family: str = ""
    why: str = ""
    cpus: list[str]
    models: dict[str, CpuModel] = {}


class Asked(BaseModel):
    """The options that a run was started with, as pytest's command line had them: what it takes to finish it."""

    model_config = ConfigDict(frozen=True)

    engine: str
    cpu: str = ""
    hypervisor: str
    defect: str = ""
    keyword: str = ""
    marks: str = ""
    shard: str = ""
    guest: str = ""
    stress: float = 2.0


def number(version: str) -> str:
    """What to call an exact version in a headline: 7.2.22 of ``7.2.22 (Debian 1:7.2+dfsg-7)``, 6.12.107-1 of Linux."""
    return next((word for word in version.split() if word[0].isdigit()), version)


FORMAT: Final = 3
"""The format that is written and read. Another number is another svmconf's, which can tell what it means."""


class Header(_Line):
    """The first line: what ran, with what, where.

    ``seed`` is what everything drawn at random hung on (:mod:`harness.seed`), ``None`` in a ledger that was put
    together of runs with several. ``unavailable`` says of engines asked for why they are not here; ``shards`` which
    parts of a run it is (``2/4``), empty for a whole one.
    """

    line: Literal["header"] = "header"
    version: Literal[3] = FORMAT
    run: str
    started: str
    command: list[str]
    svmconf: str = harness.__version__
    python: str = platform.python_version()
    machine: str = ""
    git: str = ""
    seed: int | None = None
    hypervisor: str
    defect: str = ""
    engines: list[EngineLine]
    unavailable: dict[str, str] = {}
    shards: list[str] = []
    asked: Asked | None = None

    @property
    def several(self) -> bool:
        """Whether more than one engine was asked for."""
        return len(self.engines) + len(self.unavailable) > 1

    @property
    def on(self) -> str:
        """The engines' names, for a headline."""
        names = [engine.name for engine in self.engines]
        return names[0] if len(names) == 1 else f"{len(names)} engines"


class Plan(_Line):
    """Which cases were to run here, by id, sorted; and which ones belong to other shards of the same run."""

    line: Literal["plan"] = "plan"
    cases: list[str]
    elsewhere: list[str] = []


class Evidence(_Line):
    """What one machine showed, by an id that says what ran. Several cases may judge the same evidence."""

    line: Literal["evidence"] = "evidence"
    id: str
    observation: Observation | None = None
    seen: Seen | None = None

    @property
    def program(self) -> str:
        """A hash of what ran: of the program as plain data, or of the image that was booted and how."""
        if self.seen is not None:
            ran = self.seen.program.model_dump_json()
        elif self.observation is not None:
            ran = f"{self.observation.image_sha256} {self.observation.boot.model_dump_json()}"
        else:
            return ""
        return hashlib.sha256(ran.encode()).hexdigest()


class Entry(_Line):
    """One case on one engine and CPU model.

    ``evidence`` is the id of what it judged, ``program`` the hash of what ran for it (:attr:`Evidence.program`), and
    ``artefacts`` are the files that the machine left, by their paths in the run's folder (in a ledger that was put
    together of several: behind the run's name). ``expectation`` is the known deviation that the case was held to,
    whatever came of it. ``case`` is the id that pytest knows it by; ``function`` is the same for all its parameters;
    ``claim`` is the first line of its docstring; ``reason`` says why for every verdict but *pass*; times are in
    seconds, ``started`` since 1970.
    """

    line: Literal["entry"] = "entry"
    case: str
    function: str
    claim: str
    source: str
    requirements: list[str]
    engine: str
    engine_version: str
    cpu: str
    variant: str = ""
    verdict: Verdict
    reason: str = ""
    started: float
    seconds: float
    expectation: str = ""
    evidence: str = ""
    program: str = ""
    artefacts: list[str] = []

    @property
    def lost(self) -> bool:
        """Whether it stands for a case that was planned and never left a verdict."""
        return self.started == 0.0

    @property
    def setting(self) -> str:
        """CPU model and variant, for a person."""
        return f"{self.cpu} {self.variant}".strip()


class Seal(_Line):
    """The last line of a whole ledger: what stands before it, so that a change to it can be told."""

    line: Literal["seal"] = "seal"
    sha256: str
    lines: int


Line = Header | Plan | Evidence | Entry | Seal
_LINE: TypeAdapter[Line] = TypeAdapter(Annotated[Line, Field(discriminator="line")])
_EVIDENCE = re.compile(rb'\{"line":"evidence","id":"([^"\\]+)".*\}', re.DOTALL)


def schema() -> dict[str, object]:
    """The JSON schema of a line; ``docs/ledger.schema.json`` is this, and a test holds it to that."""
    return _LINE.json_schema(mode="serialization")


class Ledger(BaseModel):
    """A whole ledger. ``elsewhere`` are the cases that belong to shards which are not in it.

    All is in memory but the evidence of one that was read: that stays in the file, and is read when it is asked for.
    """

    header: Header
    planned: list[str]
    elsewhere: list[str] = []
    evidence: SkipValidation[Mapping[str, Evidence]]
    entries: list[Entry]

    @property
    def counts(self) -> dict[Verdict, int]:
        """How many of each verdict; they add up to the number planned."""
        found = Counter(entry.verdict for entry in self.entries)
        return {verdict: found[verdict] for verdict in Verdict}

    @property
    def good(self) -> bool:
        """Whether all is as it must be."""
        return all(entry.verdict.good for entry in self.entries)

    def arithmetic(self) -> str:
        """``120 planned = 118 pass + 2 skip + ...``: the sum that every report shows."""
        parts = " + ".join(f"{count} {verdict}" for verdict, count in self.counts.items() if count)
        other = f" ({len(self.elsewhere)} more in other shards)" if self.elsewhere else ""
        return f"{len(self.planned)} planned = {parts or 'nothing'}{other}"


class Writer:
    """Appends lines to one part of a ledger; each is on the disk when the call returns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            raise SvmconfError(
                f"cannot write the ledger {path}: {error.strerror}", "--out DIR chooses another folder"
            ) from error

    def write(self, line: Line) -> None:
        """Append one line."""
        try:
            rest = memoryview(line.model_dump_json().encode() + b"\n")
            while rest:
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            raise SvmconfError(f"cannot write the ledger {self.path}: {error.strerror}") from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def gather(folder: Path) -> Ledger | None:
    """A run's parts put together, with *not-run* for every case planned that left no entry.

    ``None`` when nothing was planned.
    """
    parts = sorted(folder.glob("ledger-*.jsonl"))
    ledger = _assemble(line for part in parts for line in _lines(part))
    return ledger if ledger is not None and (ledger.planned or ledger.elsewhere) else None


def settle(ledger: Ledger, folder: Path) -> None:
    """Write the whole ledger, ``ledger.jsonl``; only then are the parts removed."""
    place = folder / "ledger.draft"
    place.unlink(missing_ok=True)
    plan = Plan(cases=ledger.planned, elsewhere=ledger.elsewhere)
    digest, count = hashlib.sha256(), 0
    try:
        with place.open("wb") as draft:
            for line in _written(ledger, plan):
                digest.update(line)
                count += draft.write(line) > 0
            seal = Seal(sha256=digest.hexdigest(), lines=count)
            draft.write(seal.model_dump_json().encode() + b"\n")
            draft.flush()
            os.fsync(draft.fileno())
        place.replace(folder / "ledger.jsonl")
    except OSError as error:
        place.unlink(missing_ok=True)
        raise SvmconfError(f"cannot write the ledger {place}: {error.strerror}") from error
    for part in folder.glob("ledger-*.jsonl"):
        part.unlink()


def _written(ledger: Ledger, plan: Plan) -> Iterator[bytes]:
    for line in (ledger.header, plan):
        yield line.model_dump_json().encode() + b"\n"
    for id in ledger.evidence:
        yield raw(ledger, id) + b"\n"
    for entry in ledger.entries:
        yield entry.model_dump_json().encode() + b"\n"


def raw(ledger: Ledger, id: str) -> bytes:
    """The line of a piece of evidence, without making anything of it when it was read from a file."""
    kept = ledger.evidence
    return kept.raw(id) if isinstance(kept, Stored) else kept[id].model_dump_json().encode()


def reopen(folder: Path) -> None:
    """Make what a run has written so far parts of it again, under names that no worker will write to."""
    written = [*sorted(folder.glob("ledger-*.jsonl")), folder / "ledger.jsonl"]
    for number, part in enumerate(part for part in written if part.exists()):
        part.replace(folder / f"ledger-0-before-{number}-{part.stem}.jsonl")


def done(folder: Path) -> set[str]:
    """The cases of an unfinished run that have a verdict."""
    ledger = gather(folder)
    return {entry.case for entry in ledger.entries if not entry.lost} if ledger is not None else set()


def merge(folder: Path) -> Ledger | None:
    """:func:`gather` and :func:`settle`."""
    ledger = gather(folder)
    if ledger is not None:
        settle(ledger, folder)
    return ledger


def read(path: Path) -> Ledger:
    """A ledger from its file (a merged one, or a part); a last line that was cut short is left out."""
    ledger = _assemble(_lines(path))
    if ledger is None:
        raise SvmconfError(f"{path} is no ledger: it has no header")
    return ledger


def header(path: Path) -> Header:
    """The first line of a ledger's file, without reading the rest."""
    try:
        with path.open("rb") as file:
            first = file.readline()
            _check_format(first, path)
            line = _LINE.validate_json(first)
    except (OSError, ValidationError):
        line = None
    if not isinstance(line, Header):
        raise SvmconfError(f"{path} is no ledger: it has no header")
    return line


def of(place: Path) -> Ledger:
    """The ledger of a run by its folder, also of one that was killed, or by its file."""
    if not place.is_dir() or (place / "ledger.jsonl").exists():
        return read(place / "ledger.jsonl" if place.is_dir() else place)
    ledger = gather(place)
    if ledger is None:
        raise SvmconfError(f"{place} holds no ledger", "give a run's folder, such as reports/out/latest")
    return ledger


def _lines(path: Path) -> Iterator[Line | Piece]:
    """The lines of a ledger's file; evidence only as the place where it stands."""
    try:
        file = File(path)
        for number, (place, line) in enumerate(file.lines(), 1):
            known = _EVIDENCE.fullmatch(line)
            found: Line | str = known[1].decode() if known else _parse(line, path, number)
            if isinstance(found, Evidence):
                found = found.id
            yield Piece(found, file, place, len(line)) if isinstance(found, str) else found
    except OSError as error:
        raise SvmconfError(f"cannot read the ledger {path}: {error.strerror}") from error


def _parse(line: bytes, path: Path, number: int) -> Line:
    try:
        return _LINE.validate_json(line)
    except ValidationError as error:
        _check_format(line, path)
        raise SvmconfError(f"{path}:{number}: no line of a ledger: {error.errors()[0]['msg']}") from error


class _AnyHeader(BaseModel):
    """What the header of every format has."""

    line: Literal["header"]
    version: int
    svmconf: str = ""
    git: str = ""


def _check_format(line: bytes, path: Path) -> None:
    """Raise :class:`SvmconfError` when the line is a header of another format."""
    try:
        it = _AnyHeader.model_validate_json(line)
    except ValidationError:
        return
    if it.version != FORMAT:
        raise SvmconfError(
            f"{path} is a ledger of format {it.version}, this svmconf reads format {FORMAT}",
            f"use the svmconf that wrote it, {f'{it.svmconf} {it.git}'.strip() or 'whichever that is'}, or run again",
        )


def _evidence(piece: Piece) -> Evidence:
    try:
        return Evidence.model_validate_json(piece.read())
    except ValidationError as error:
        why = error.errors()[0]["msg"]
        raise SvmconfError(f"{piece.file.path}: evidence {piece.key}: no line of a ledger: {why}") from error


def _assemble(lines: Iterable[Line | Piece]) -> Ledger | None:
    header: Header | None = None
    planned: set[str] = set()
    elsewhere: set[str] = set()
    evidence: list[Piece] = []
    entries: dict[str, Entry] = {}
    for line in lines:
        if isinstance(line, Header):
            header = header or line
        elif isinstance(line, Plan):
            planned.update(line.cases)
            elsewhere.update(line.elsewhere)
        elif isinstance(line, Piece):
            evidence.append(line)
        elif isinstance(line, Entry) and not line.lost:
            entries[line.case] = line
    if header is None:
        return None
    planned.update(entries)
    for lost in planned - set(entries):
        entries[lost] = lost_entry(lost, header)
    return Ledger(
        header=header,
        planned=sorted(planned),
        elsewhere=sorted(elsewhere - planned),
        evidence=Stored(evidence, _evidence),
        entries=[entries[case] for case in sorted(entries)],
    )


def lost_entry(case: str, header: Header, why: str = "its worker ended before it left a verdict") -> Entry:
    """What stands for a case that was planned and left no verdict."""
    function, _, setting = case.partition("[")
    engine, _, rest = setting.removesuffix("]").partition(":")
    cpu, _, variant = rest.partition(":")
    version = next((e.version for e in header.engines if e.name == engine), "")
    return Entry(
        case=case,
        function=function,
        claim="",
        source="",
        requirements=[],
        engine=engine,
        engine_version=version,
        cpu=cpu,
        variant=variant,
        verdict=Verdict.NOT_RUN,
        reason=why,
        started=0.0,
        seconds=0.0,
    )
