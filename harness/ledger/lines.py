"""The lines of a ledger: what each kind says, and the format that they are written in."""

from __future__ import annotations

import hashlib
import platform
from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

import harness
from harness.engines.base import CpuModel
from harness.lab.seen import NEVER_ENDED, Seen
from harness.observation import Observation


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
    operations: int = 0


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
    ``claim`` is the first line of its docstring; ``reason`` says why for every verdict but *pass*, and for an expected
    failure what was expected: ``found`` is what it failed with this time. Times are in seconds, ``started`` since 1970.
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
    found: str = ""
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
    def hung(self) -> bool:
        """Whether it is an expected failure of a case that never came to its judgement, because a step never ended."""
        return NEVER_ENDED in self.found

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
LINE: TypeAdapter[Line] = TypeAdapter(Annotated[Line, Field(discriminator="line")])
"""Reads a line of any kind."""


def schema() -> dict[str, object]:
    """The JSON schema of a line; ``docs/ledger.schema.json`` is this, and a test holds it to that."""
    return LINE.json_schema(mode="serialization")
