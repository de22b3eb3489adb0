"""The matrix: requirement by engine, from a ledger alone, and which engine of a row is unlike the others.

A cell holds every case and setting (CPU model, variant) of its requirement on its engine. Engines are compared by what
was *observed*: whether all passed, or what exactly did not, and the first line of why. A skip observed nothing, so it
makes no difference.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby

from harness.ledger import EngineLine, Entry, Ledger, Verdict
from harness.report.provenance import Glance, Told, answered, glance, told
from harness.report.rows import section_order
from harness.report.style import short_reason
from harness.spec import catalogue
from harness.spec.catalogue import Requirement

WORST_FIRST = (
    Verdict.FAIL,
    Verdict.ERROR,
    Verdict.NOT_RUN,
    Verdict.EXPECTED_FAIL,
    Verdict.SKIP,
    Verdict.PASS,
)
REPRODUCE = "svmconf run{options} --engine {engine} --cpu {cpu} -k {name}"
"""The command that repeats a case on an engine and CPU model."""

Observed = frozenset[tuple[str, ...]]


@dataclass(frozen=True)
class Column:
    """An engine: its exact version, why it was chosen or, for one that is not here, why not, and all its verdicts."""

    name: str
    version: str
    why: str
    cpus: tuple[str, ...]
    unavailable: str
    counts: dict[Verdict, int]


def observed(entry: Entry) -> tuple[str, ...]:
    """What an entry says was seen, in words that can be compared with those of another engine."""
    if entry.verdict is Verdict.PASS:
        return (Verdict.PASS,)
    return entry.verdict, entry.function, entry.variant, short_reason(entry).replace(entry.engine, "the engine")


@dataclass(frozen=True)
class Judged:
    """One case in one setting on an engine, with what its evidence says of faults and layers."""

    entry: Entry
    told: tuple[Told, ...]
    answered: tuple[str, ...]
    layers: tuple[str, ...]


@dataclass(frozen=True)
class Several:
    """Entries that stand together, and what their evidence says of faults and layers."""

    judged: tuple[Judged, ...]

    @property
    def told(self) -> tuple[Told, ...]:
        """Each fault that their boots asked for, and whether it was real or injected."""
        return tuple(dict.fromkeys(told for one in self.judged for told in one.told))

    @property
    def answered(self) -> tuple[str, ...]:
        """The layers that answered, where known."""
        return tuple(dict.fromkeys(name for one in self.judged for name in one.answered))


@dataclass(frozen=True)
class Cell(Several):
    """A requirement on an engine. ``group`` is its place in :attr:`Row.groups`, ``None`` when nothing ran."""

    group: int | None = None
    odd: bool = False

    @cached_property
    def counts(self) -> dict[Verdict, int]:
        """How many of each verdict, those that occur, worst first."""
        found = Counter(one.entry.verdict for one in self.judged)
        return {verdict: found[verdict] for verdict in WORST_FIRST if found[verdict]}

    @property
    def verdict(self) -> Verdict | None:
        """The worst verdict; a skip is news only where nothing else is."""
        return next((v for v in self.counts if v is not Verdict.SKIP), next(iter(self.counts), None))

    @property
    def observed(self) -> Observed:
        """What was observed: ``pass`` when that is all, or each deviation; empty when nothing was.

        A skip says that something is missing, not what an engine does; *not-run* counts where there is nothing else.
        """
        seen = {observed(one.entry) for one in self.judged if one.entry.verdict is not Verdict.SKIP}
        ran = {words for words in seen if words[0] is not Verdict.NOT_RUN}
        return frozenset(ran - {(Verdict.PASS,)} or ran) if ran else frozenset(words[:1] for words in seen)


@dataclass(frozen=True)
class Row:
    """A requirement on every engine, in the order of the columns; ``requirement`` is ``None`` for cases that were lost.

    ``groups`` are the engines (by their place) that observed the same, the norm first.
    """

    requirement: Requirement | None
    cases: tuple[str, ...]
    cells: tuple[Cell, ...]
    groups: tuple[tuple[int, ...], ...]

    @property
    def id(self) -> str:
        """The requirement's id."""
        return self.requirement.id if self.requirement else "without a requirement"

    @property
    def heading(self) -> str:
        """Number and title of its section."""
        return self.requirement.heading if self.requirement else "without a requirement"

    @property
    def differs(self) -> bool:
        """Whether engines observed different things."""
        return len(self.groups) > 1

    @property
    def clean(self) -> bool:
        """Whether nothing but passes and skips is in it."""
        return all(cell.verdict in (None, Verdict.PASS, Verdict.SKIP) for cell in self.cells)

    @property
    def good(self) -> bool:
        """Whether every verdict in it is as it must be."""
        return all(verdict.good for cell in self.cells for verdict in cell.counts)


@dataclass(frozen=True)
class Section:
    """The rows of one section of the manual."""

    heading: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Matrix:
    """The whole table; ``manifest`` is how the run was told which hypervisor to test."""

    hypervisor: str
    manifest: str
    defect: str
    started: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]

    @property
    def sections(self) -> list[Section]:
        """The rows, section by section, as the manual has them."""
        return [Section(heading, tuple(rows)) for heading, rows in groupby(self.rows, key=lambda row: row.heading)]

    @property
    def checked(self) -> Matrix:
        """The same without the rows of requirements that no case checked."""
        return replace(self, rows=tuple(row for row in self.rows if row.cases))

    @property
    def options(self) -> str:
        """What ``svmconf run`` needs besides engine, CPU model and case, to repeat one."""
        foreign = f" --hypervisor {shlex.quote(self.manifest)}" if self.hypervisor != "svmconf" else ""
        return foreign + (f" --defect {self.defect}" if self.defect else "")

    def command(self, entry: Entry) -> str:
        """The command that repeats an entry."""
        return REPRODUCE.format(
            options=self.options,
            engine=entry.engine.partition("@")[0],
            cpu=entry.cpu.removesuffix(",-svm"),  # the case asks for that by itself
            name=entry.function.rpartition("::")[2],
        )


def of(ledger: Ledger, uncovered: bool = False) -> Matrix:
    """The matrix of a ledger; ``uncovered`` adds a row for each requirement that no case checked."""
    header = ledger.header
    columns = tuple(_columns(ledger))
    required = {entry.function: entry.requirements for entry in ledger.entries if entry.requirements}
    cells: dict[str, dict[str, list[Judged]]] = {id: {} for id in catalogue.load()} if uncovered else {}
    evidence = {id: _provenance(glance(ledger, id)) for id in ledger.evidence}
    for entry in ledger.entries:
        judged = Judged(entry, *evidence.get(entry.evidence, ((), (), ())))
        for id in required.get(entry.function) or [""]:
            cells.setdefault(id, {}).setdefault(entry.engine, []).append(judged)
    return Matrix(
        hypervisor=header.hypervisor,
        manifest=header.asked.hypervisor if header.asked else f"{header.hypervisor}.toml",
        defect=header.defect,
        started=header.started,
        columns=columns,
        rows=tuple(sorted((_row(id, found, columns) for id, found in cells.items()), key=_order)),
    )


def _provenance(evidence: Glance) -> tuple[tuple[Told, ...], tuple[str, ...], tuple[str, ...]]:
    seen = evidence.observation or evidence.seen
    return told(evidence), answered(evidence), tuple(seen.layers) if seen else ()


def _columns(ledger: Ledger) -> Iterable[Column]:
    counts: dict[str, Counter[Verdict]] = {}
    for entry in ledger.entries:
        counts.setdefault(entry.engine, Counter())[entry.verdict] += 1
    here = {engine.name: engine for engine in ledger.header.engines}
    for name in (*here, *sorted({*ledger.header.unavailable, *counts} - set(here))):
        engine = here.get(name) or EngineLine(name=name, version="", cpus=[])
        found = counts.get(engine.name, Counter())
        yield Column(
            name=engine.name,
            version=engine.version,
            why=engine.why,
            cpus=tuple(engine.cpus),
            unavailable=ledger.header.unavailable.get(engine.name, ""),
            counts={verdict: found[verdict] for verdict in WORST_FIRST if found[verdict]},
        )


def _row(id: str, found: dict[str, list[Judged]], columns: Sequence[Column]) -> Row:
    judged = [tuple(found.get(column.name, ())) for column in columns]
    groups, normal = _groups([Cell(each).observed for each in judged])
    places = {column: number for number, group in enumerate(groups) for column in group}
    cells = [
        Cell(each, places.get(column), odd=normal and places.get(column, 0) > 0) for column, each in enumerate(judged)
    ]
    cases = dict.fromkeys(one.entry.function for each in judged for one in each)
    return Row(catalogue.load().get(id), tuple(sorted(cases)), tuple(cells), groups)


def _groups(seen: Sequence[Observed]) -> tuple[tuple[tuple[int, ...], ...], bool]:
    """Engines that observed the same, the norm first; and whether there is a norm.

    That is what most observed; of several that are equally many the one where all passed, if there is one.
    """
    alike: dict[Observed, list[int]] = {}
    for column, one in enumerate(seen):
        if one:
            alike.setdefault(one, []).append(column)

    def rank(one: Observed) -> tuple[int, bool]:
        return -len(alike[one]), one != {(Verdict.PASS,)}

    ordered = sorted(alike, key=rank)
    normal = len(ordered) < 2 or rank(ordered[0]) != rank(ordered[1])
    return tuple(tuple(alike[one]) for one in ordered), normal


def _order(row: Row) -> tuple[bool, tuple[list[tuple[int, str]], str], str]:
    return row.requirement is None, section_order(row.requirement) if row.requirement else ([], ""), row.id
