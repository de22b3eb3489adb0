"""Deviations known of engines: ``conformance/expectations/<engine>.toml``, strict both ways.

An expected failure is reported as what it is, never as a pass; when the engine mends its ways the unexpected pass
fails.
"""

from __future__ import annotations

import datetime
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    ValidationError,
)

from harness import paths
from harness.errors import SvmconfError
from harness.spec import catalogue, claims
from harness.spec.versions import Versions

TODO = "TODO: to be understood"
"""The cause of an expectation that was written from a ledger; nobody has looked into it yet."""

MENDED = "a known deviation did not show"
"""How the reason of an unexpected pass begins, whose verdict is *fail*."""

NOT_THIS_TIME = "not this time"
"""How the reason begins where a deviation that shows by chance did not, whose verdict is *expected-fail*."""

_Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True, pattern=r"^[^\n]*$")]
_Versions = Annotated[
    Versions,
    BeforeValidator(lambda value: Versions.parse(value) if isinstance(value, str) else value),
    PlainSerializer(str),
]


class Deviation(BaseModel):
    """One known deviation.

    ``case`` names a case's function, since a requirement can have several; ``versions`` says which of the engine's
    (:mod:`harness.spec.versions`); ``cpus`` and ``variants`` are names of CPU models and of the case's variants, in
    which ``*`` stands for anything; without any it is about all. ``crashes`` says that the engine itself dies of it,
    ``unreached`` that the software under test never comes as far as what the case judges, ``by_chance`` that it hangs
    on timing whether the deviation shows: then, and only then, it need not. That is no pass all the same.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    requirement: _Text
    case: Annotated[str, StringConstraints(pattern=r"^test_\w+$")]
    versions: _Versions = Versions()
    cpus: tuple[_Text, ...] = ()
    variants: tuple[_Text, ...] = ()
    crashes: bool = False
    unreached: bool = False
    by_chance: bool = False
    observed: _Text
    cause: _Text
    upstream: Annotated[
        str, StringConstraints(pattern=r"^(https?://\S+( \(.+\))?|not reported(: .+)?|mended in .+)$")
    ] = Field(description="a link, or 'not reported', or in which version it was mended")
    date: datetime.date

    def applies(self, case: str, version: str, cpu: str, variant: str = "") -> bool:
        """Whether it is about that case there."""
        return (
            self.case == case
            and self.versions.holds(version)
            and _among(cpu, self.cpus)
            and _among(variant, self.variants)
        )

    def __str__(self) -> str:
        return f"{self.requirement}: {self.observed} ({self.cause}; {self.upstream})"


def _among(name: str, patterns: tuple[str, ...]) -> bool:
    return not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)


@cache
def load(engine: str, family: str, folder: Path = paths.EXPECTATIONS) -> tuple[Deviation, ...]:
    """The deviations of an engine by its name (``qemu-7.2+kvm``), its family's (``qemu+kvm``) included.

    Raises :class:`SvmconfError` naming file and entry when one is wrong.
    """
    files = [path for name in dict.fromkeys((family, engine)) if (path := folder / f"{name}.toml").is_file()]
    return tuple(deviation for path in files for deviation in read(path))


def every(folder: Path = paths.EXPECTATIONS) -> dict[str, tuple[Deviation, ...]]:
    """All deviations by the engine's or family's name, sorted."""
    return {path.stem: tuple(read(path)) for path in sorted(folder.glob("*.toml"))}


def read(path: Path) -> Iterator[Deviation]:
    """The entries of one file."""
    where = path.relative_to(paths.ROOT) if path.is_relative_to(paths.ROOT) else path
    try:
        content = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise SvmconfError(f"{where} is not TOML: {error}") from error
    if unknown := sorted(set(content) - {"deviation"}):
        raise SvmconfError(f"{where}: unknown key {unknown[0]}", "a file holds [[deviation]] entries only")
    for number, entry in enumerate(content.get("deviation", ()), 1):
        try:
            yield Deviation.model_validate(entry)
        except ValidationError as error:
            name = f"{entry.get('requirement', '?')} {entry.get('case', '?')}"
            raise SvmconfError(f"{where}: entry {number}, {name}: {catalogue.why(error)}") from error


def complaints(folder: Path = paths.EXPECTATIONS) -> list[str]:
    """What is wrong with the expectations as they stand, a line each: unknown, not understood, said twice."""
    checks: dict[str, set[str]] = {}
    for case in claims.suite():
        checks.setdefault(case.name, set()).update(case.requirements)
    wrong = []
    for name, deviations in every(folder).items():
        seen: set[tuple[object, ...]] = set()
        for it in deviations:
            where = f"{name}.toml: {it.requirement} {it.case}"
            if it.requirement not in catalogue.load():
                wrong.append(f"{where}: the catalogue has no such requirement")
            elif it.case not in checks:
                wrong.append(f"{where}: the suite has no such case")
            elif it.requirement not in checks[it.case]:
                wrong.append(f"{where}: the case does not name the requirement")
            if it.cause.startswith("TODO"):
                wrong.append(f"{where}: its cause is not understood yet: {it.cause}")
            if (same := (it.requirement, it.case, it.versions, it.cpus, it.variants)) in seen:
                wrong.append(f"{where}: stands there twice")
            seen.add(same)
    return wrong
