"""How verdicts look on a terminal."""

from __future__ import annotations

from harness.ledger import Entry, Verdict

STYLE = {
    Verdict.PASS: "green",
    Verdict.FAIL: "bold red",
    Verdict.SKIP: "yellow",
    Verdict.EXPECTED_FAIL: "magenta",
    Verdict.ERROR: "bold red",
    Verdict.NOT_RUN: "red",
}


def short_reason(entry: Entry) -> str:
    """The first line of why; of a known deviation without cause and link, which the reports have."""
    first = next(iter(entry.reason.splitlines()), "")
    return first.partition(" (")[0] if entry.verdict is Verdict.EXPECTED_FAIL else first
