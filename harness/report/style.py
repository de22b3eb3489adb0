"""How verdicts look on a terminal."""

from __future__ import annotations

from harness.ledger import Verdict

STYLE = {
    Verdict.PASS: "green",
    Verdict.FAIL: "bold red",
    Verdict.SKIP: "yellow",
    Verdict.EXPECTED_FAIL: "magenta",
    Verdict.ERROR: "bold red",
    Verdict.NOT_RUN: "red",
}
