"""Reports: each a pure function of the ledger. Nothing here boots, judges, or asks the machine for anything."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from harness.ledger import Ledger
from harness.report import allure, badge, html, junit, markdown, matrix, matrix_page, site, table
from harness.report.site import history


def write_all(ledger: Ledger, folder: Path, earlier: Sequence[Path] = (), *, allure_results: bool = True) -> None:
    """Write every report that needs no other program, but for the site.

    That is JUnit XML, our HTML summary, the matrix, a summary in Markdown, a badge, Allure's results. ``earlier`` are
    ledgers to compare with, besides those of earlier runs that are found beside the folder.
    """
    whole = matrix.of(ledger)
    junit.write(ledger, folder / "junit.xml")
    html.write(ledger, folder / "summary.html")
    if allure_results:
        allure.write_results(ledger, folder / "allure-results", folder)
    if ledger.header.several:
        matrix_page.write(whole, folder)
        table.write(whole, folder / "matrix.csv")
    markdown.write(ledger, whole, _past(ledger, folder, earlier), folder / "summary.md")
    badge.write(ledger, folder / "badge.svg")
    (folder / "counts.json").write_text(json.dumps({str(k): v for k, v in ledger.counts.items()}, indent=1) + "\n")


def write_site(ledger: Ledger, folder: Path, earlier: Sequence[Path] = ()) -> None:
    """Write the site into the run's folder; ``earlier`` as for :func:`write_all`."""
    site.write(ledger, folder / "site", _past(ledger, folder, earlier))


def _past(ledger: Ledger, folder: Path, earlier: Sequence[Path]) -> history.History:
    return history.look_back(ledger, history.find(ledger.header, earlier, folder.parent))
