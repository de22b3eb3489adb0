"""Writing a ledger: a part for each worker while the run goes on, one file when it is over."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from harness.errors import SvmconfError
from harness.ledger.lines import Line, Plan, Seal
from harness.ledger.stored import Stored
from harness.ledger.whole import Ledger


class Writer:
    """Appends lines to one part of a ledger; each is on the disk when the call returns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            raise SvmconfError(
                f"cannot write the ledger {path}: {error.strerror}", "--out DIR chooses another folder"
            ) from error

    def write(self, line: Line) -> None:
        """Append one line."""
        try:
            rest = memoryview(line.model_dump_json().encode() + b"\n")
            while rest:
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            raise SvmconfError(f"cannot write the ledger {self.path}: {error.strerror}") from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def settle(ledger: Ledger, folder: Path) -> None:
    """Write the whole ledger, ``ledger.jsonl``; only then are the parts removed."""
    place = folder / "ledger.draft"
    place.unlink(missing_ok=True)
    plan = Plan(cases=ledger.planned, elsewhere=ledger.elsewhere)
    digest, count = hashlib.sha256(), 0
    try:
        with place.open("wb") as draft:
            for line in _written(ledger, plan):
                digest.update(line)
                count += draft.write(line) > 0
            seal = Seal(sha256=digest.hexdigest(), lines=count)
            draft.write(seal.model_dump_json().encode() + b"\n")
            draft.flush()
            os.fsync(draft.fileno())
        place.replace(folder / "ledger.jsonl")
    except OSError as error:
        place.unlink(missing_ok=True)
        raise SvmconfError(f"cannot write the ledger {place}: {error.strerror}") from error
    for part in folder.glob("ledger-*.jsonl"):
        part.unlink()


def _written(ledger: Ledger, plan: Plan) -> Iterator[bytes]:
    for line in (ledger.header, plan):
        yield line.model_dump_json().encode() + b"\n"
    for id in ledger.evidence:
        yield raw(ledger, id) + b"\n"
    for entry in ledger.entries:
        yield entry.model_dump_json().encode() + b"\n"


def raw(ledger: Ledger, id: str) -> bytes:
    """The line of a piece of evidence, without making anything of it when it was read from a file."""
    kept = ledger.evidence
    return kept.raw(id) if isinstance(kept, Stored) else kept[id].model_dump_json().encode()


def reopen(folder: Path) -> None:
    """Make what a run has written so far parts of it again, under names that no worker will write to."""
    written = [*sorted(folder.glob("ledger-*.jsonl")), folder / "ledger.jsonl"]
    for number, part in enumerate(part for part in written if part.exists()):
        part.replace(folder / f"ledger-0-before-{number}-{part.stem}.jsonl")
