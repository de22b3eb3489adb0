"""What the latest ledgers say of a requirement, engine by engine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from harness import ledger, paths
from harness.errors import SvmconfError
from harness.ledger import Entry, Header, Verdict


@dataclass(frozen=True)
class Result:
    """The verdicts on one requirement from the newest run that has any on that engine."""

    engine: str
    version: str
    run: str
    entries: tuple[Entry, ...]

    @property
    def counts(self) -> dict[Verdict, int]:
        """How many of each verdict, those that occur. An expected failure is one, and no pass."""
        found = Counter(entry.verdict for entry in self.entries)
        return {verdict: found[verdict] for verdict in Verdict if found[verdict]}

    @property
    def reasons(self) -> list[tuple[Verdict, str]]:
        """Why it was neither pass nor known deviation, each reason once."""
        clear = (Verdict.PASS, Verdict.EXPECTED_FAIL)
        said = ((e.verdict, e.reason.partition("\n")[0]) for e in self.entries if e.verdict not in clear)
        return list(dict.fromkeys(said))


def latest(requirement: str, out: Path = paths.OUT) -> list[Result]:
    """By engine, from runs of our hypervisor without a seeded defect; sorted by the engine's name."""
    found: dict[str, Result] = {}
    for header, path in _runs(out):
        here: dict[str, list[Entry]] = {}
        for entry in _entries(path, requirement):
            if entry.engine not in found:
                here.setdefault(entry.engine, []).append(entry)
        for engine, entries in here.items():
            found[engine] = Result(engine, entries[0].engine_version, header.run, tuple(entries))
    return [found[engine] for engine in sorted(found)]


def _runs(out: Path) -> list[tuple[Header, Path]]:
    """The finished runs that say something of engines, newest first; a file that is no ledger is passed over."""
    found = []
    for path in out.glob("*/ledger.jsonl"):
        try:
            header = ledger.header(path)
        except SvmconfError:
            continue
        if header.hypervisor == "svmconf" and not header.defect and not path.parent.is_symlink():
            found.append((header, path))
    return sorted(found, key=lambda run: (run[0].started, run[0].run), reverse=True)


def _entries(path: Path, requirement: str) -> Iterator[Entry]:
    """Entries that name the requirement, without reading what they judged."""
    named = f'"{requirement}"'.encode()
    with path.open("rb") as lines:
        for line in lines:
            if line.startswith(b'{"line":"entry"') and named in line:
                try:
                    entry = Entry.model_validate_json(line)
                except ValidationError:
                    continue  # the last line of a run that was killed
                if requirement in entry.requirements:
                    yield entry
