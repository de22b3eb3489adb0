"""The catalogue: every testable sentence of the manual, by its stable id (``conformance/catalogue/README.md``)."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from harness import paths
from harness.errors import SvmconfError

_CHAPTERS = {
    "15": "15 Secure Virtual Machine",
    "B": "Appendix B: VMCB layout",
    "C": "Appendix C: SVM intercept exit codes",
    "V3": "Volume 3: SVM instructions",
    "CPUID": "CPUID of SVM",
}


class Requirement(BaseModel):
    """One requirement; ``sections`` maps a revision of the manual to the section where it stands."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    sections: dict[str, str]
    title: str
    statement: str
    kind: Literal["platform", "hypervisor", "both"]
    priority: Literal["must", "should", "may"]
    observable: str
    feature_gate: str = ""
    rev_note: str = ""
    note: str = ""
    verified: str
    sources: tuple[str, ...] = ()

    @property
    def section(self) -> str:
        """Its section in the newest revision known."""
        return self.sections[max(self.sections)]

    @property
    def chapter(self) -> str:
        """Its chapter's number and title."""
        first = self.section.partition(".")[0]
        return _CHAPTERS.get(first, first)

    @property
    def heading(self) -> str:
        """Its section's number and title."""
        return f"{self.section} {self.title}" if self.section[0].isdigit() else self.title


@cache
def load(folder: Path = paths.CATALOGUE) -> dict[str, Requirement]:
    """All requirements by id; raise :class:`SvmconfError` naming file and entry when one is wrong."""
    found: dict[str, Requirement] = {}
    for path in sorted(folder.glob("*.toml")):
        for entry in tomllib.loads(path.read_text())["requirement"]:
            try:
                requirement = Requirement.model_validate(entry)
            except ValidationError as error:
                raise SvmconfError(f"{path}: {entry.get('id', 'an entry without id')}: {error.errors()[0]}") from error
            if requirement.id in found:
                raise SvmconfError(f"{path}: {requirement.id} stands twice in the catalogue")
            found[requirement.id] = requirement
    return found
