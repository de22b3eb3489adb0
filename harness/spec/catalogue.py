"""The catalogue: every testable sentence of the manual, by its stable id (``conformance/catalogue/README.md``)."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    ValidationError,
    model_validator,
)

from harness import paths
from harness.errors import SvmconfError
from harness.spec.gate import Gate

_CHAPTERS = {
    "15": "15 Secure Virtual Machine",
    "B": "Appendix B: VMCB layout",
    "C": "Appendix C: SVM intercept exit codes",
    "V3": "Volume 3: SVM instructions",
    "CPUID": "CPUID of SVM",
}
_FILES = {"appendix-b-vmcb": "B", "appendix-c-exit-codes": "C", "instructions": "V3", "cpuid": "CPUID"}
"""Which section a file holds; any other is named for it (``15.5.toml``: 15.5 with its sub-sections)."""

_TITLES = {
    "15.5": "VMRUN Instruction",
    "15.14": "Miscellaneous Intercepts",
    "15.21": "Interrupt and Local APIC Support",
    "15.25": "Nested Paging",
    "15.33": "Nested Virtualization",
    "15.34": "Secure Encrypted Virtualization",
    "15.35": "Encrypted State (SEV-ES)",
    "15.36": "Secure Nested Paging (SEV-SNP)",
}
"""Of sections that have no entry of their own, only in their sub-sections."""

Kind = Literal["platform", "hypervisor", "both"]
Priority = Literal["must", "should", "may"]
Status = Literal["covered", "planned", "untestable"]

_Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True, pattern=r"^[^\n]*$")]
_Id = Annotated[str, StringConstraints(pattern=r"^SVM-(15(\.[1-9]\d*){1,2}|B|C|V3|CPUID)(-[CF])?-\d{3}$")]
_Revision = Annotated[str, StringConstraints(pattern=r"^\d+\.\d\d$")]
_Section = Annotated[str, StringConstraints(pattern=r"^(15(\.[1-9]\d*){1,2}|B|C|V3|CPUID)$")]
_Gate = Annotated[
    Gate,
    BeforeValidator(lambda value: Gate.parse(value) if isinstance(value, str) else value),
    PlainSerializer(str),
]

_Entry = TypeVar("_Entry", bound=BaseModel)


class Requirement(BaseModel):
    """One requirement; ``sections`` maps a revision of the manual to the section where it stands."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    id: _Id
    sections: dict[_Revision, _Section] = Field(min_length=1)
    title: _Text
    statement: _Text
    kind: Kind
    priority: Priority
    observable: _Text
    feature_gate: _Gate = Gate()
    status: Status
    reason: str = ""
    rev_note: str = ""
    note: str = ""
    verified: Literal["text+code", "text-only", "code-3", "code-2", "code-1", "UNVERIFIED"]
    sources: tuple[_Text, ...] = ()

    @model_validator(mode="after")
    def _reasoned(self) -> Requirement:
        if (self.status == "untestable") is not bool(self.reason.strip()):
            raise ValueError("a reason goes with the status untestable, and with no other")
        return self

    @property
    def section(self) -> str:
        """Its section in the newest revision known."""
        newest = max(self.sections, key=lambda revision: tuple(map(int, revision.split("."))))
        return self.sections[newest]

    @property
    def chapter(self) -> str:
        """Its chapter's number and title."""
        first = self.section.partition(".")[0]
        return _CHAPTERS.get(first, first)

    @property
    def heading(self) -> str:
        """Its section's number and title."""
        return f"{self.section} {self.title}" if self.section[0].isdigit() else self.title

    @property
    def order(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """What sorts requirements as the manual has them: 15.9 before 15.10, the appendices after chapter 15."""
        return _natural(self.section), _natural(self.id)

    @property
    def main_section(self) -> str:
        """Its section without the sub-section: 15.5 for 15.5.1."""
        return ".".join(self.section.split(".")[:2])

    @property
    def topic(self) -> tuple[str, str]:
        """Its section, and its id without the number: what shares a title."""
        return self.section, self.id.rpartition("-")[0]

    def within(self, section: str) -> bool:
        """Whether it stands in that section or one of its sub-sections."""
        return self.section == section or self.section.startswith(f"{section}.")


def files(folder: Path = paths.CATALOGUE) -> list[Path]:
    """The catalogue's files."""
    return sorted(folder.glob("*.toml"))


class Dropped(BaseModel):
    """An id that is never given again, since its entry turned out to be no requirement."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: _Id
    reason: _Text


@cache
def load(folder: Path = paths.CATALOGUE) -> dict[str, Requirement]:
    """All requirements by id; raise :class:`SvmconfError` naming file and entry when one is wrong."""
    found: dict[str, Requirement] = {}
    titles: dict[tuple[str, str], str] = {}
    gone = dropped(folder)
    for path in files(folder):
        for requirement in _entries(path, "requirement", Requirement):
            where = f"{_short(path)}: {requirement.id}"
            if requirement.id in found or requirement.id in gone:
                raise SvmconfError(f"{where} stands twice in the catalogue", "an id is given once, for ever")
            if (title := titles.setdefault(requirement.topic, requirement.title)) != requirement.title:
                raise SvmconfError(f"{where}: its neighbours have the title {title!r}")
            if not requirement.within(home := _FILES.get(path.stem, path.stem)):
                raise SvmconfError(f"{where}: section {requirement.section} is not part of {home}")
            found[requirement.id] = requirement
    return found


@cache
def dropped(folder: Path = paths.CATALOGUE) -> dict[str, Dropped]:
    """All ids that were dropped, with the reason."""
    return {entry.id: entry for path in files(folder) for entry in _entries(path, "dropped", Dropped)}


def title(section: str) -> str:
    """A section's title; empty when nothing stands there."""
    own = (r.title for r in load().values() if r.section == section)
    return _TITLES.get(section) or next(own, "")


def find(name: str) -> Requirement:
    """A requirement by its id, in which case, ``SVM-`` and leading zeros may be wanting.

    Raises :class:`SvmconfError` with the reason when it was dropped, with near matches when there is none.
    """
    known = load()
    stem, _, number = ("SVM-" + name.upper().removeprefix("SVM-")).rpartition("-")
    wanted = f"{stem}-{number.zfill(3)}"
    if wanted in known:
        return known[wanted]
    if wanted in dropped():
        raise SvmconfError(f"requirement {wanted} was dropped from the catalogue", dropped()[wanted].reason)
    near = difflib.get_close_matches(wanted, known, n=3, cutoff=0.7)
    hint = f"did you mean {', '.join(sorted(near))}?" if near else "svmconf spec --grep TEXT looks for words"
    raise SvmconfError(f"the catalogue has no requirement {name}", hint)


def _entries(path: Path, key: str, model: type[_Entry]) -> Iterator[_Entry]:
    """The entries of one kind in a file, each checked by itself."""
    try:
        content = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise SvmconfError(f"{_short(path)} is not TOML: {error}") from error
    if unknown := sorted(set(content) - {"requirement", "dropped"}):
        raise SvmconfError(f"{_short(path)}: unknown key {unknown[0]}", "a file holds [[requirement]] and [[dropped]]")
    for entry in content.get(key, ()):
        try:
            yield model.model_validate(entry)
        except ValidationError as error:
            raise SvmconfError(f"{_short(path)}: {_id(entry)}: {why(error)}") from error


def why(error: ValidationError) -> str:
    """What is wrong with an entry, in one line: the field and the first complaint about it."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    return f"{field}: {message}" if field else message


def _natural(name: str) -> tuple[str, ...]:
    return tuple(part.zfill(4) if part.isdigit() else part for part in re.split(r"[.-]", name))


def _id(entry: Any) -> str:
    return str(entry.get("id", "an entry without id")) if isinstance(entry, dict) else "an entry"


def _short(path: Path) -> Path:
    return path.relative_to(paths.ROOT) if path.is_relative_to(paths.ROOT) else path
