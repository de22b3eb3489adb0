"""What earlier runs of the same hypervisor found, and what is new since: from their ledgers' verdicts alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ValidationError

from harness import ledger as ledgers
from harness.errors import SvmconfError
from harness.ledger import Entry, Header, Ledger, Verdict

RUNS = 20
"""How many earlier runs are looked up in the runs' folder."""

_BYTES = 600_000_000  # and how much of their ledgers is read
_EVIDENCE = b'{"line":"evidence"'


class News(StrEnum):
    """What a verdict that is not what it was amounts to, worst first."""

    BROKEN = "no longer as it must be"
    DEVIATES = "now a known deviation"
    MENDED = "now holds"
    OTHER = "changed otherwise"

    @classmethod
    def of(cls, before: Verdict, now: Verdict) -> News:
        """The kind of a change."""
        if not now.good and before.good:
            return cls.BROKEN
        if now is Verdict.EXPECTED_FAIL:
            return cls.DEVIATES
        return cls.MENDED if now is Verdict.PASS and before is not Verdict.SKIP else cls.OTHER


@dataclass(frozen=True)
class Change:
    """An entry whose verdict is not that of the last earlier run that has the case; ``run`` is that run."""

    entry: Entry
    before: Verdict
    run: str

    @property
    def news(self) -> News:
        """What it amounts to."""
        return News.of(self.before, self.entry.verdict)


@dataclass(frozen=True)
class Past:
    """A run in the row: its header, its verdicts by engine, how many changed to what, how many cases were new in it."""

    header: Header
    counts: Mapping[str, Mapping[Verdict, int]]
    news: Mapping[News, int]
    fresh: int

    @property
    def total(self) -> Counter[Verdict]:
        """The verdicts of all engines."""
        return sum((Counter(dict(counts)) for counts in self.counts.values()), Counter[Verdict]())


@dataclass(frozen=True)
class History:
    """All runs in order, the reported one last; ``changes`` are those of that one. ``unreadable`` were left out."""

    runs: tuple[Past, ...]
    changes: tuple[Change, ...]
    unreadable: int = 0

    @property
    def fresh(self) -> int:
        """How many cases of the reported run no earlier one has."""
        return self.runs[-1].fresh

    def of(self, news: News) -> list[Change]:
        """The changes of a kind."""
        return [change for change in self.changes if change.news is news]


@dataclass(frozen=True)
class Places:
    """Ledgers to look back at, oldest first; and how many there were that cannot be read."""

    paths: tuple[Path, ...] = ()
    unreadable: int = 0


def find(header: Header, given: Iterable[Path] = (), runs: Path | None = None) -> Places:
    """The ledgers of earlier runs of the same hypervisor: all given ones, and the latest in a folder of runs."""
    known: dict[str, tuple[str, Path]] = {}
    unreadable, budget = 0, _BYTES
    for path in given:
        one = ledgers.header(path)
        known[one.run] = one.started, path
    found: list[tuple[str, str, Path]] = []
    for path in sorted(runs.glob("*/ledger.jsonl")) if runs else ():
        if path.parent.is_symlink():
            continue
        try:
            one = ledgers.header(path)
        except SvmconfError:
            unreadable += 1
            continue
        if _before(one, header) and one.run not in known:
            found.append((one.started, one.run, path))
    for started, run, path in sorted(found, reverse=True)[:RUNS]:
        budget -= path.stat().st_size
        if budget < 0:
            break
        known[run] = started, path
    known.pop(header.run, None)
    return Places(tuple(path for _, path in sorted(known.values())), unreadable)


def _before(one: Header, other: Header) -> bool:
    same = (one.hypervisor, one.defect) == (other.hypervisor, other.defect)
    return same and (one.started, one.run) < (other.started, other.run)


class _Line(BaseModel):
    line: str
    case: str = ""
    engine: str = ""
    verdict: Verdict | None = None
    started: float | str = 0.0  # in the header it is a text


def look_back(ledger: Ledger, places: Places = Places()) -> History:
    """Hold a run against those before it."""
    latest: dict[str, tuple[Verdict, str]] = {}
    runs, unreadable = [], places.unreadable
    cases = {entry.case for entry in ledger.entries}
    for path in places.paths:
        try:
            verdicts = list(_verdicts(path))
        except SvmconfError:
            unreadable += 1
        else:
            if any(case in cases for case, _, _ in verdicts):  # others have nothing to do with this run
                runs.append(_past(ledgers.header(path), verdicts, latest))
    changes = tuple(
        Change(entry, *latest[entry.case])
        for entry in ledger.entries
        if not entry.lost and entry.case in latest and latest[entry.case][0] is not entry.verdict
    )
    own = [(entry.case, entry.engine, entry.verdict) for entry in ledger.entries]
    return History((*runs, _past(ledger.header, own, latest)), changes, unreadable)


def _past(header: Header, verdicts: Sequence[tuple[str, str, Verdict]], latest: dict[str, tuple[Verdict, str]]) -> Past:
    """Put a run behind those in ``latest``, which has of each case the last verdict and its run."""
    counts: dict[str, Counter[Verdict]] = {}
    news: Counter[News] = Counter()
    fresh = 0
    for case, engine, verdict in verdicts:
        counts.setdefault(engine, Counter())[verdict] += 1
        before = latest.get(case, (None, ""))[0]
        fresh += before is None
        if before is not None and before is not verdict:
            news[News.of(before, verdict)] += 1
        latest[case] = verdict, header.run
    return Past(header, counts, news, fresh)


def _verdicts(path: Path) -> Iterator[tuple[str, str, Verdict]]:
    """Case, engine and verdict of each entry; raise :class:`SvmconfError` when the ledger cannot be read."""
    try:
        with path.open("rb") as file:
            for line in file:
                if line.startswith(_EVIDENCE) or not line.endswith(b"\n"):
                    continue
                one = _Line.model_validate_json(line)
                if one.line == "entry" and one.verdict is not None and one.started:
                    yield one.case, one.engine, one.verdict
    except (OSError, ValidationError) as error:
        raise SvmconfError(f"cannot read the ledger {path}") from error
