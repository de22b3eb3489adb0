"""Deviations known of engines: ``conformance/expectations/<engine>.toml``, strict both ways.

An expected failure is reported as what it is, never as a pass; when the engine mends its ways the unexpected pass
fails.
"""

from __future__ import annotations

import re
import tomllib
from datetime import date
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from harness import paths


class Deviation(BaseModel):
    """One known deviation.

    ``case`` names a case's function, since a requirement can have several; ``versions`` and ``cpu`` are regular
    expressions on the beginning of the engine's exact version and on the whole CPU model, empty for all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    requirement: str
    case: str
    versions: str = ""
    cpu: str = ""
    observed: str
    cause: str
    upstream: str = Field(description="a link, or 'not reported'")
    date: date

    def applies(self, case: str, version: str, cpu: str) -> bool:
        """Whether it is about that case there."""
        return self.case == case and bool(re.match(self.versions, version) and re.fullmatch(self.cpu or ".*", cpu))

    def __str__(self) -> str:
        return f"{self.requirement}: {self.observed} ({self.cause}; {self.upstream})"


@cache
def load(engine: str, family: str, folder: Path = paths.EXPECTATIONS) -> tuple[Deviation, ...]:
    """The deviations of an engine by its name (``qemu-7.2+kvm``), its family's (``qemu+kvm``) included."""
    files = [path for name in dict.fromkeys((family, engine)) if (path := folder / f"{name}.toml").is_file()]
    entries = [entry for path in files for entry in tomllib.loads(path.read_text()).get("deviation", ())]
    return tuple(Deviation.model_validate(entry) for entry in entries)
