"""Reports: each a pure function of the ledger. Nothing here boots, judges, or asks the machine for anything."""

from __future__ import annotations

import contextlib
import gc
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.ledger import Ledger
from harness.report import allure, allure_report, badge, html, junit, markdown, matrix, matrix_page, site, table
from harness.report.matrix import Matrix
from harness.report.site import history
from harness.report.site.history import History


@contextlib.contextmanager
def _without_collecting() -> Iterator[None]:
    """No search for cycles meanwhile: there are none in a ledger's trees, and to look again and again takes a sixth
    of the time that a large one's reports take.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


@_without_collecting()
def write_all(
    ledger: Ledger, folder: Path, earlier: Sequence[Path] = (), *, allure_results: bool = True, with_site: bool = False
) -> Matrix:
    """Write every report that needs no other program into a run's folder; return the matrix that they are made from.

    That is JUnit XML, our HTML summary, the matrix, a summary in Markdown, a badge, Allure's results and, if asked for,
    the site. ``earlier`` are ledgers to compare with, besides those of earlier runs that are found beside the folder.
    """
    whole = matrix.of(ledger, uncovered=True)
    shown = whole.checked
    past = _past(ledger, folder, earlier)
    junit.write(ledger, folder / "junit.xml")
    html.write(ledger, folder / "summary.html")
    if allure_results:
        allure.write_results(ledger, folder / allure_report.RESULTS, folder)
        allure_report.write_configuration(ledger, folder)
    if ledger.header.several:
        matrix_page.write(shown, folder)
        table.write(shown, folder / "matrix.csv")
    markdown.write(ledger, shown, past, folder / "summary.md")
    badge.write(ledger, folder / "badge.svg")
    (folder / "counts.json").write_text(json.dumps({str(k): v for k, v in ledger.counts.items()}, indent=1) + "\n")
    if with_site:
        site.write(ledger, folder / "site", past, whole)
    return shown


def write_site(ledger: Ledger, folder: Path) -> None:
    """Write the site alone into a run's folder."""
    site.write(ledger, folder / "site", _past(ledger, folder))


def _past(ledger: Ledger, folder: Path, earlier: Sequence[Path] = ()) -> History:
    return history.look_back(ledger, history.find(ledger.header, earlier, folder.parent))
