"""The ledger: a run's JSON-lines record of every observation and verdict. Every report is a function of it alone.

Each worker appends to a part of its own, a line as it happens, flushed to the disk; at the end the parts are merged. A
run that was killed leaves readable parts.
"""

from __future__ import annotations

from pathlib import Path

from harness.ledger.lines import (
    FORMAT,
    Asked,
    EngineLine,
    Entry,
    Evidence,
    Header,
    Line,
    Plan,
    Seal,
    Verdict,
    number,
    schema,
)
from harness.ledger.reading import done, gather, header, of, read
from harness.ledger.whole import Ledger, lost_entry
from harness.ledger.writing import Writer, raw, reopen, settle

__all__ = [
    "FORMAT",
    "Asked",
    "EngineLine",
    "Entry",
    "Evidence",
    "Header",
    "Ledger",
    "Line",
    "Plan",
    "Seal",
    "Verdict",
    "Writer",
    "done",
    "gather",
    "header",
    "lost_entry",
    "merge",
    "number",
    "of",
    "raw",
    "read",
    "reopen",
    "schema",
    "settle",
]


def merge(folder: Path) -> Ledger | None:
    """:func:`gather` and :func:`settle`."""
    ledger = gather(folder)
    if ledger is not None:
        settle(ledger, folder)
    return ledger
