"""Expectations from a ledger: what no longer shows is narrowed or removed, what shows for the first time is added.

Nothing is ever excused by this: an entry that it adds has the cause :data:`harness.spec.expectations.TODO`, which fails
``svmconf expectations check`` until somebody has understood it.
"""

from __future__ import annotations

import datetime
import glob
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.items import AoT

from harness import paths
from harness.errors import SvmconfError
from harness.ledger import Entry, Ledger, Verdict
from harness.spec import expectations
from harness.spec.expectations import Deviation
from harness.spec.versions import Versions, number

_LONGEST = 200


@dataclass(frozen=True)
class Point:
    """One case with one variant on one engine's CPU model, and whether it deviated there."""

    case: str
    engine: str
    family: str
    version: str
    cpu: str
    variant: str
    deviates: bool
    entry: Entry

    def within(self, it: Deviation) -> bool:
        """Whether the deviation is about it."""
        return it.applies(self.case, self.version, self.cpu, self.variant)


@dataclass(frozen=True)
class Change:
    """One thing that was done to a file, or that must be done by hand."""

    file: str
    about: str
    what: str
    by_hand: bool = False

    def __str__(self) -> str:
        return f"{self.file}.toml: {self.about}: {self.what}"


class Unclear(Exception):
    """Neither versions nor CPU models nor variants tell where it deviates from where it does not."""


def points(ledger: Ledger) -> list[Point]:
    """What the ledger's verdicts say of deviations; skips, errors and what was not run say nothing.

    Raises :class:`SvmconfError` when the ledger is no witness of engines.
    """
    if ledger.header.defect or ledger.header.hypervisor != "svmconf":
        under_test = ledger.header.hypervisor + (f" with defect {ledger.header.defect}" if ledger.header.defect else "")
        raise SvmconfError(
            f"the ledger is of {under_test}: what fails there need not be the engine's doing",
            "take one of a run of svmconf without a defect",
        )
    family = {line.name: line.family or re.sub(r"-[^+]*", "", line.name) for line in ledger.header.engines}
    found = []
    for e in ledger.entries:
        mended = e.verdict is Verdict.FAIL and e.reason.startswith(expectations.MENDED)
        if e.verdict in (Verdict.PASS, Verdict.FAIL, Verdict.EXPECTED_FAIL):
            deviates = e.verdict is not Verdict.PASS and not mended
            case = e.function.rpartition("::")[2]
            where = e.engine, family.get(e.engine, e.engine), e.engine_version, e.cpu, e.variant
            found.append(Point(case, *where, deviates, e))
    return found


def update(ledger: Ledger, folder: Path = paths.EXPECTATIONS, *, write: bool = True) -> list[Change]:
    """Rewrite the files; say what was done, a line each, and what must be done by hand."""
    seen = points(ledger)
    changes: list[Change] = []
    for name in sorted({p.family for p in seen} | {p.engine for p in seen}):
        path = folder / f"{name}.toml"
        here = [p for p in seen if name in (p.family, p.engine)]
        old = list(expectations.read(path)) if path.is_file() else []
        kept = [_revised(it, here, name, changes) for it in old]
        new = _unknown(here, seen, folder, changes) if name in {p.family for p in here} else []
        if write and (kept != old or new):
            path.write_text(_edited(path.read_text() if path.is_file() else "", kept, new))
    expectations.load.cache_clear()
    return changes


def stale(ledger: Ledger, folder: Path = paths.EXPECTATIONS) -> list[str]:
    """Expectations that did not show where they should have, a line each."""
    seen = points(ledger)
    found = []
    for name, deviations in expectations.every(folder).items():
        for it in deviations:
            good = [p for p in seen if name in (p.family, p.engine) and p.within(it) and not p.deviates]
            if good:
                found.append(f"{name}.toml: {it.requirement} {it.case}: it passes on {_where(good)}")
    return found


def two_ways(ledger: Ledger, folder: Path = paths.EXPECTATIONS) -> list[str]:
    """Expectations whose case hung in some settings and failed in others, a line each: one of them is not understood.

    What shows by chance may show in any way.
    """
    seen = [p for p in points(ledger) if p.entry.found]
    wrong = []
    for name, deviations in expectations.every(folder).items():
        for it in deviations:
            here = [p for p in seen if name in (p.family, p.engine) and p.within(it)]
            hung = [p for p in here if p.entry.hung]
            if 0 < len(hung) < len(here) and not it.by_chance:
                wrong.append(f"{name}.toml: {it.requirement} {it.case}: it hangs on {_where(hung)}, and not elsewhere")
    return wrong


def narrow(it: Deviation, bad: list[Point], good: list[Point]) -> Deviation | None:
    """The deviation without the points where it did not show; ``None`` when nothing is left of it.

    Raises :class:`Unclear` when no condition tells them apart.
    """
    failing = {p.version for p in bad}
    versions = it.versions
    for version in sorted({p.version for p in good} - failing, key=number, reverse=True):
        versions = versions.without(version, failing)
    if not versions or not bad:
        return it.model_copy(update={"versions": versions}) if versions else None
    it = it.model_copy(update={"versions": versions})
    for field in ("cpus", "variants"):
        good = [p for p in good if p.within(it)]
        is_bad, is_good = ({getattr(p, field.removesuffix("s")) for p in some} for some in (bad, good))
        if good and not is_bad & is_good and "" not in is_bad:
            it = it.model_copy(update={field: tuple(map(glob.escape, sorted(is_bad)))})
    if any(p.within(it) for p in good) or not all(p.within(it) for p in bad):
        raise Unclear
    return it


def _revised(it: Deviation, here: list[Point], name: str, changes: list[Change]) -> Deviation | None:
    """What becomes of a deviation; ``None`` removes it."""
    inside = [p for p in here if p.within(it)]
    bad, good = [p for p in inside if p.deviates], [p for p in inside if not p.deviates]
    if not good:
        return it
    about = f"{it.requirement} {it.case}"
    try:
        left = narrow(it, bad, good)
    except Unclear:
        what = f"not narrowed: it passes on {_where(good)}, and fails on {_where(bad)}"
        changes.append(Change(name, about, what, by_hand=True))
        return it
    what = f"narrowed to {_conditions(left)}" if left else "removed"
    changes.append(Change(name, about, f"{what}: it passes on {_where(good)}"))
    return left


def _unknown(here: list[Point], everywhere: list[Point], folder: Path, changes: list[Change]) -> list[Deviation]:
    """Entries for what deviates in this family, passes elsewhere, and is not known."""
    known = {p.engine: expectations.load(p.engine, p.family, folder) for p in here}
    fresh = [p for p in here if p.deviates and not any(p.within(it) for it in known[p.engine])]
    new = []
    for case, group in groupby(sorted(fresh, key=lambda p: p.case), key=lambda p: p.case):
        passing = {p.variant for p in everywhere if p.case == case and not p.deviates}
        some = list(group)
        bad = [p for p in some if p.variant in passing]
        if nowhere := [p for p in some if p not in bad]:
            about = f"{nowhere[0].entry.requirements[0]} {case}"
            what = f"not added: it fails on {_where(nowhere)}, and passes nowhere"
            changes.append(Change(nowhere[0].family, about, what, by_hand=True))
        good = [p for p in here if p.case == case and not p.deviates]
        for it in _skeletons(bad, good) if bad else ():
            what = f"added for {_conditions(it)}, its cause is to be understood"
            changes.append(Change(bad[0].family, f"{it.requirement} {it.case}", what))
            new.append(it)
    return new


def _skeletons(bad: list[Point], good: list[Point]) -> list[Deviation]:
    """One entry if conditions can tell where it deviates, else one for each version and CPU model."""
    versions = Versions.of({p.version for p in bad}, {p.version for p in good})
    try:
        whole = narrow(_skeleton(bad[0], versions), bad, good)
        return [whole] if whole else []
    except Unclear:
        pass
    found = []
    for (version, cpu), group in groupby(sorted(bad, key=_place), key=_place):
        some = list(group)
        one = _skeleton(some[0], Versions.of([version], [])).model_copy(update={"cpus": (glob.escape(cpu),)})
        left = narrow(one, some, [p for p in good if p.within(one)])
        found += [left] if left else []
    return found


def _place(point: Point) -> tuple[str, str]:
    return point.version, point.cpu


def _skeleton(point: Point, versions: Versions) -> Deviation:
    reason = point.entry.reason.strip().partition("\n")[0]
    return Deviation(
        requirement=point.entry.requirements[0],
        case=point.case,
        versions=versions,
        observed=reason[:_LONGEST] or "it failed and said nothing",
        cause=expectations.TODO,
        upstream="not reported",
        date=datetime.date.today(),
    )


def _where(some: Iterable[Point]) -> str:
    """Some points for a person, by engine."""
    found: dict[str, dict[str, None]] = {}
    for p in some:
        found.setdefault(f"{p.engine} {p.version.partition(' ')[0]}", {})[f"{p.cpu} {p.variant}".strip()] = None
    return "; ".join(f"{engine} ({', '.join(settings)})" for engine, settings in found.items())


def _conditions(it: Deviation) -> str:
    words = (str(it.versions), ", ".join(it.cpus), ", ".join(it.variants))
    return "; ".join(filter(None, words)) or "every version"


# The text of a file


def _edited(text: str, kept: list[Deviation | None], new: list[Deviation]) -> str:
    """A file's text with its entries as they shall be: those kept, in their order and with their comments, then new."""
    old = tomlkit.parse(text)
    entries = old.get("deviation")
    document, tables = tomlkit.document(), tomlkit.aot()
    margin: Any = document  # comments after an entry belong to the next: they stay when it goes
    for key, item in old.body:
        if key is None:
            document.add(item)
    for table, it in zip(entries.body if isinstance(entries, AoT) else (), kept, strict=True):
        if it is not None:
            margin = tomlkit.table()
            tables.append(margin)
        for name, item in _items(table.value.body, it):
            if name is None:
                margin.add(item)
            elif it is not None:
                margin.add(name, item)
    for it in new:
        tables.append(_fields(it))
    if len(tables):
        document.add("deviation", tables)
    return re.sub(r"\n{3,}", "\n\n", tomlkit.dumps(document)).strip("\n") + "\n"


def _items(body: Iterable[tuple[Any, Any]], it: Deviation | None) -> Iterator[tuple[str | None, Any]]:
    """An entry's keys, comments and blank lines, its conditions as they are now."""
    conditions = _text(it) if it else {}
    for key, item in body:
        name = key.key if key else None
        if name not in _CONDITIONS:
            yield name, item
        if name == "case":
            yield from conditions.items()


_CONDITIONS = ("versions", "cpus", "variants")


def _text(it: Deviation) -> dict[str, str | list[str]]:
    """The conditions that there are, as they stand in a file."""
    found: dict[str, str | list[str]] = {"cpus": list(it.cpus), "variants": list(it.variants)}
    return {name: value for name, value in ({"versions": str(it.versions)} | found).items() if value}


def _fields(it: Deviation) -> dict[str, Any]:
    plain: dict[str, Any] = {"requirement": it.requirement, "case": it.case, **_text(it)}
    return plain | {"observed": it.observed, "cause": it.cause, "upstream": it.upstream, "date": it.date}
