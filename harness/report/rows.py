"""The ledger as rows for people: one a case, its settings put together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from harness.ledger import Entry, Ledger, Verdict
from harness.spec import catalogue
from harness.spec.catalogue import Requirement


@dataclass(frozen=True)
class Row:
    """One case with all its entries, and the first requirement that it checks (``None`` for a case that was lost)."""

    function: str
    claim: str
    requirement: Requirement | None
    entries: tuple[Entry, ...]

    @property
    def counts(self) -> dict[Verdict, int]:
        """How many of each verdict, those that occur."""
        return {v: n for v in Verdict if (n := sum(e.verdict is v for e in self.entries))}

    @property
    def requirements(self) -> list[str]:
        """Ids of all requirements that it checks somewhere: an entry names those that apply to its processor."""
        return list(dict.fromkeys(id for entry in self.entries for id in entry.requirements))

    @property
    def worst(self) -> Entry | None:
        """The first entry that is not as it must be."""
        return next((e for e in self.entries if not e.verdict.good), None)


@dataclass(frozen=True)
class Group:
    """The rows of one section of the manual."""

    heading: str
    rows: tuple[Row, ...]


def rows(ledger: Ledger) -> list[Row]:
    """One row a case, sorted by section, then id."""
    known = catalogue.load()
    found = []
    for function, entries in groupby(sorted(ledger.entries, key=lambda e: e.function), key=lambda e: e.function):
        members = tuple(entries)
        first = next((known[name] for name in members[0].requirements if name in known), None)
        claim = members[0].claim or function.rpartition("::")[2]
        found.append(Row(function, claim, first, members))
    return sorted(found, key=_order)


def groups(ledger: Ledger) -> Iterator[Group]:
    """The rows, section by section."""
    for heading, members in groupby(rows(ledger), key=lambda row: row.requirement.heading if row.requirement else ""):
        yield Group(heading or "without a requirement", tuple(members))


def section_order(requirement: Requirement) -> tuple[list[tuple[int, str]], str]:
    """What to sort by, so that requirements stand as their sections do in the manual: numbers as numbers."""
    parts = [(int(p), "") if p.isdigit() else (999, p) for p in requirement.section.split(".")]
    return parts, requirement.title


def _order(row: Row) -> tuple[list[tuple[int, str]], str, str]:
    parts, title = section_order(row.requirement) if row.requirement else ([], "")
    return parts, title, row.function
