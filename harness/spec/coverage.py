"""How much of the catalogue the suite covers, and the ratchet that keeps it from falling.

Covered means that a case names the requirement. Whether the processor or the hypervisor fulfils it is another question:
that is what ledgers say.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import tomlkit

from harness import paths
from harness.errors import SvmconfError
from harness.spec import catalogue
from harness.spec.catalogue import Requirement

RATCHET = paths.ROOT / "conformance" / "coverage.toml"

_HEAD = """\
How many requirements of each section the suite covers, at the least: a test fails when it covers fewer.
`svmconf coverage --update` raises these numbers. Lower one only by hand, with the reason in the commit.
"""


@dataclass(frozen=True)
class Tally:
    """How many requirements of one sort there are, by status. ``name`` is the section, the kind or the priority."""

    name: str
    title: str
    covered: int
    planned: int
    untestable: int

    @property
    def testable(self) -> int:
        """Those that a case can cover."""
        return self.covered + self.planned

    @property
    def share(self) -> float:
        """Of those that a case can cover, the part that is covered; 1 when there are none."""
        return self.covered / self.testable if self.testable else 1.0


def tally(requirements: Iterable[Requirement], name: str, title: str = "") -> Tally:
    """Count them."""
    found = Counter(requirement.status for requirement in requirements)
    return Tally(name, title, found["covered"], found["planned"], found["untestable"])


def by_section(requirements: Iterable[Requirement]) -> list[Tally]:
    """One for each main section, in the manual's order."""
    return _by(lambda r: r.main_section, sorted(requirements, key=lambda r: r.order), catalogue.title)


def by_kind(requirements: Iterable[Requirement]) -> list[Tally]:
    """One for each kind."""
    order = ("platform", "hypervisor", "both")
    return _by(lambda r: r.kind, sorted(requirements, key=lambda r: order.index(r.kind)))


def by_priority(requirements: Iterable[Requirement]) -> list[Tally]:
    """One for each priority."""
    order = ("must", "should", "may")
    return _by(lambda r: r.priority, sorted(requirements, key=lambda r: order.index(r.priority)))


def _by(
    key: Callable[[Requirement], str], ordered: list[Requirement], title: Callable[[str], str] = lambda _: ""
) -> list[Tally]:
    names = dict.fromkeys(map(key, ordered))
    return [tally((r for r in ordered if key(r) == name), name, title(name)) for name in names]


def least(path: Path = RATCHET) -> dict[str, int]:
    """What the ratchet holds: for each section how many are covered at the least."""
    try:
        held = tomllib.loads(path.read_text())["covered"]
    except (FileNotFoundError, KeyError, tomllib.TOMLDecodeError) as error:
        raise SvmconfError(
            f"{path}: no ratchet: {error}", "git has it: git checkout conformance/coverage.toml"
        ) from error
    return {str(section): int(count) for section, count in held.items()}


def fallen(now: Iterable[Tally], path: Path = RATCHET) -> list[str]:
    """Where fewer are covered than the ratchet holds, a line each."""
    counts = {row.name: row.covered for row in now}
    return [
        f"section {section}: {counts.get(section, 0)} requirements are covered, and {count} were"
        for section, count in least(path).items()
        if counts.get(section, 0) < count
    ]


def raise_ratchet(now: Iterable[Tally], path: Path = RATCHET) -> list[str]:
    """Write what is covered now, never less than before; say what rose, a line each."""
    before = least(path) if path.exists() else {}
    counts = {row.name: max(row.covered, before.get(row.name, 0)) for row in now}
    counts = {section: count for section, count in (before | counts).items() if count}
    text = tomlkit.document()
    for line in _HEAD.splitlines():
        text.add(tomlkit.comment(line))
    table = tomlkit.table()
    table.update(counts)
    text.add("covered", table)
    path.write_text(tomlkit.dumps(text))
    return [f"section {s}: {n}, was {before.get(s, 0)}" for s, n in counts.items() if n > before.get(s, 0)]


def mark_covered(ids: Iterable[str], folder: Path = paths.CATALOGUE) -> list[str]:
    """Change the status of these from planned to covered in the catalogue's files; say which were, sorted."""
    wanted, changed = set(ids), []
    for path in catalogue.files(folder):
        text = tomlkit.parse(path.read_text())
        here = [e for e in text.get("requirement", ()) if e["id"] in wanted and e["status"] == "planned"]
        for entry in here:
            entry["status"] = "covered"
        if here:
            path.write_text(tomlkit.dumps(text))
            changed += [str(entry["id"]) for entry in here]
    catalogue.load.cache_clear()
    return sorted(changed)
