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
    """The first line of why; of a known deviation without cause and link, which the reports have.

    Where nobody found words, pytest's first line is what was compared, shortened, and what differs stands below it.
    """
    lines = entry.reason.splitlines()
    first = lines[0] if lines else ""
    if entry.verdict is Verdict.EXPECTED_FAIL:
        return first.partition(" (")[0]
    differing = [line.strip() for line in lines if " != " in line] if first.startswith("assert ") else []
    return "; ".join(differing) or first
