"""A campaign's folder: what was done, so that it can go on, and what was found, each ready to be reported.

campaign.json         seed, engines, size of a chunk
chunks/000017.json    what came of the numbers of a chunk; written whole or not at all
findings/NAME/        finding.json, report.md, reproduce.py, payload.elf, guest.asm
findings.md           all of them, by engine
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.campaign import report
from harness.campaign.explore import Explored, Where
from harness.campaign.finding import Finding
from harness.errors import SvmconfError
from harness.lab.payload import Payload
from harness.machine.image import Image


class Plan(BaseModel):
    """What a campaign is; a folder belongs to one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int
    size: int
    on: tuple[Where, ...]
    versions: dict[str, str]


class Folder:
    """The folder of one campaign. Raises :class:`SvmconfError` when it belongs to another, or cannot be written."""

    def __init__(self, path: Path, plan: Plan) -> None:
        self.path = path
        self.plan = plan
        self._chunks = path / "chunks"
        kept = path / "campaign.json"
        try:
            if kept.exists() and Plan.model_validate_json(kept.read_bytes()) != plan:
                raise SvmconfError(f"{path} holds another campaign", "take its seed and engines, or another --out")
            self._chunks.mkdir(parents=True, exist_ok=True)
            (path / "findings").mkdir(exist_ok=True)
            if not kept.exists():
                _write(kept, plan.model_dump_json(indent=1))
        except OSError as error:
            raise SvmconfError(
                f"cannot write to {path}: {error.strerror}", "--out DIR chooses another folder"
            ) from error
        except ValidationError as error:
            raise SvmconfError(f"{kept} is no campaign of this version", "--out DIR chooses another folder") from error

    def done(self) -> dict[int, Explored]:
        """The chunks that were explored."""
        found = (Explored.model_validate_json(file.read_bytes()) for file in sorted(self._chunks.glob("*.json")))
        return {one.chunk: one for one in found}

    def keep_chunk(self, explored: Explored) -> None:
        """Remember what came of a chunk."""
        _write(self._chunks / f"{explored.chunk:06}.json", explored.model_dump_json())

    def findings(self) -> dict[str, Finding]:
        """What was found and kept, by cause."""
        files = self.path.glob("findings/*/finding.json")
        return {one.cause: one for one in (Finding.model_validate_json(file.read_bytes()) for file in files)}

    def keep(self, finding: Finding, probe: Image | None = None) -> Path:
        """Write a finding's folder; with the probe also the image that shows it."""
        folder = self.path / "findings" / finding.name
        folder.mkdir(exist_ok=True)
        _write(folder / "report.md", report.of(finding, self.plan.on, self.plan.versions))
        _write(folder / "reproduce.py", report.script(finding))
        _write(folder / "guest.asm", report.assembly(finding.specimen))
        if probe is not None:
            Payload.of(finding.specimen.program).image(probe, folder / "payload.elf")
        _write(folder / "finding.json", finding.model_dump_json(indent=1))
        return folder

    def summarize(self) -> str:
        """Write the list of all findings, and return it."""
        counts: Counter[str] = Counter()
        specimens = 0
        for explored in self.done().values():
            counts.update(explored.counts)
            specimens += explored.specimens
        text = report.overview(self.findings().values(), counts, specimens, self.plan.seed, self.plan.versions)
        _write(self.path / "findings.md", text)
        return text


def new_causes(explored: Explored, known: Iterable[str]) -> list[Finding]:
    """Of a chunk's findings those whose cause is new."""
    seen = set(known)
    return [finding for finding in explored.findings if finding.cause not in seen]


def _write(path: Path, text: str) -> None:
    descriptor, draft = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    Path(draft).chmod(0o644)
    Path(draft).replace(path)
