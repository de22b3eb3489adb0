"""Reports: each a pure function of the ledger. Nothing here boots, judges, or asks the machine for anything."""

from __future__ import annotations

import json
from pathlib import Path

from harness.ledger import Ledger
from harness.report import allure, html, junit, matrix, matrix_page


def write_all(ledger: Ledger, folder: Path) -> None:
    """Write every report that needs no other program: JUnit XML, our HTML summary, the matrix, Allure's results."""
    junit.write(ledger, folder / "junit.xml")
    html.write(ledger, folder / "summary.html")
    allure.write_results(ledger, folder / "allure-results", folder)
    if ledger.header.several:
        matrix_page.write(matrix.of(ledger), folder)
    (folder / "counts.json").write_text(json.dumps({str(k): v for k, v in ledger.counts.items()}, indent=1) + "\n")
