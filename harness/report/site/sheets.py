"""What a requirement's page says: who showed what, on which evidence, and what was expected."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest

from harness.ledger import Entry, Verdict
from harness.report.matrix import WORST_FIRST, Cell, Column, Judged, Matrix, Row, Several, observed
from harness.report.site.exhibits import NOTHING_SEEN, Exhibit, Exhibits
from harness.report.style import short_reason
from harness.spec import expectations
from harness.spec.catalogue import Requirement
from harness.spec.expectations import Deviation

_READ = 40  # pieces of evidence looked at for a page
_SETTINGS = 40  # settings that are named


@dataclass(frozen=True)
class Way(Several):
    """One way in which an engine answered: in how many settings, and the first of them to stand for all."""

    command: str

    @property
    def first(self) -> Entry:
        """The first entry."""
        return self.judged[0].entry

    @property
    def verdict(self) -> Verdict:
        """The verdict."""
        return self.first.verdict

    @property
    def words(self) -> str:
        """What was seen, or why not, in a line."""
        return short_reason(self.first)

    @property
    def more(self) -> str:
        """All that was said, if that is more than a line."""
        return "" if self.first.reason == self.words else self.first.reason

    @property
    def found(self) -> str:
        """What an expected failure failed with, where it was not the same each time the most frequent."""
        found = Counter(filter(None, (one.entry.found for one in self.judged)))
        return next((words for words, _ in found.most_common(1)), "")

    @property
    def cases(self) -> list[str]:
        """The names of the cases."""
        return list(dict.fromkeys(one.entry.function.rpartition("::")[2] for one in self.judged))

    @property
    def settings(self) -> str:
        """CPU models and variants, as many as can be named."""
        names = list(filter(None, dict.fromkeys(one.entry.setting for one in self.judged)))
        more = f" and {len(names) - _SETTINGS} more" if len(names) > _SETTINGS else ""
        return ", ".join(names[:_SETTINGS]) + more

    @property
    def layers(self) -> tuple[str, ...]:
        """The engine's layers, from the top."""
        return self.judged[0].layers


@dataclass(frozen=True)
class OnEngine:
    """A requirement on one engine: its cell of the matrix, worst way first."""

    column: Column
    cell: Cell
    ways: tuple[Way, ...]


@dataclass(frozen=True)
class Show:
    """Evidence that engines have in common, for one case and variant."""

    case: str
    variant: str
    verdict: Verdict
    exhibit: Exhibit
    engines: tuple[str, ...]
    artefacts: tuple[str, ...]


@dataclass(frozen=True)
class Case:
    """A case of a requirement: its claim, ``file:line``, and the command that repeats it."""

    function: str
    claim: str
    source: str
    command: str

    @property
    def name(self) -> str:
        """Its function's name."""
        return self.function.rpartition("::")[2]


@dataclass(frozen=True)
class Known:
    """A known deviation: where it is filed, and the engines that showed it here."""

    file: str
    deviation: Deviation
    here: tuple[str, ...]


class Sheet:
    """A requirement's page. The evidence is read only when it is asked for, after :attr:`samples` were chosen."""

    def __init__(self, requirement: Requirement, row: Row, matrix: Matrix, known: Iterable[Known]) -> None:
        self.requirement = requirement
        self.row = row
        self.known = tuple(known)
        self.engines = tuple(_on(column, cell, matrix) for column, cell in zip(matrix.columns, row.cells, strict=True))
        self.cases = tuple(_cases(row, matrix))
        self.samples = tuple(_samples(self.engines))

    @property
    def ran(self) -> bool:
        """Whether any case ran."""
        return any(one.cell.judged for one in self.engines)

    @property
    def verdicts(self) -> dict[Verdict, int]:
        """On how many engines it has which verdict, worst first."""
        found = Counter(one.cell.verdict for one in self.engines)
        return {verdict: found[verdict] for verdict in WORST_FIRST if found[verdict]}

    def shows(self, exhibits: Exhibits) -> list[Show]:
        """The evidence, that of deviations first; what is the same on several engines once."""
        alike: dict[tuple[str, str, str], tuple[Entry, Exhibit, list[str]]] = {}
        for entry in self.samples:
            exhibit = exhibits.of(entry)
            if exhibit is not None:
                key = entry.function, entry.variant, exhibit.page or exhibit.summary + exhibit.steps
                alike.setdefault(key, (entry, exhibit, []))[2].append(entry.engine)
        shows = [
            Show(
                entry.function.rpartition("::")[2],
                entry.variant,
                entry.verdict,
                exhibit,
                tuple(dict.fromkeys(names)),
                tuple(entry.artefacts),
            )
            for entry, exhibit, names in alike.values()
        ]
        return sorted(shows, key=lambda show: WORST_FIRST.index(show.verdict))


def sheets(matrix: Matrix) -> list[Sheet]:
    """A page for each requirement of the matrix, in its order."""
    met: dict[str, list[str]] = {}
    for row in matrix.rows:
        for column, cell in zip(matrix.columns, row.cells, strict=True):
            for reason in dict.fromkeys(
                j.entry.reason for j in cell.judged if j.entry.verdict is Verdict.EXPECTED_FAIL
            ):
                met.setdefault(reason, []).append(column.name)
    known: dict[str, list[Known]] = {}
    for file, deviations in expectations.every().items():
        for one in deviations:
            known.setdefault(one.requirement, []).append(Known(file, one, tuple(dict.fromkeys(met.get(str(one), ())))))
    return [
        Sheet(row.requirement, row, matrix, known.get(row.id, ())) for row in matrix.rows if row.requirement is not None
    ]


def _on(column: Column, cell: Cell, matrix: Matrix) -> OnEngine:
    alike: dict[tuple[str, ...], list[Judged]] = {}
    for one in cell.judged:
        alike.setdefault(observed(one.entry), []).append(one)
    ways = [Way(tuple(found), matrix.command(found[0].entry)) for found in alike.values()]
    return OnEngine(column, cell, tuple(sorted(ways, key=lambda way: WORST_FIRST.index(way.verdict))))


def _cases(row: Row, matrix: Matrix) -> Iterator[Case]:
    first: Mapping[str, Entry] = {
        one.entry.function: one.entry for cell in reversed(row.cells) for one in reversed(cell.judged)
    }
    for function in row.cases:
        entry = first[function]
        yield Case(function, entry.claim, entry.source, matrix.command(entry))


def _samples(engines: Iterable[OnEngine]) -> Iterator[Entry]:
    """Entries whose evidence stands for that of all: of each engine and way one, then one more, and so on."""
    ways = [way for one in engines for way in one.ways if way.verdict not in NOTHING_SEEN]
    kinds = [
        list({(one.entry.function, one.entry.variant): one.entry for one in reversed(way.judged)}.values())[::-1]
        for way in sorted(ways, key=lambda way: WORST_FIRST.index(way.verdict))
    ]
    found = (entry for turn in zip_longest(*kinds) for entry in turn if entry is not None and entry.evidence)
    for _, entry in zip(range(_READ), found, strict=False):
        yield entry
