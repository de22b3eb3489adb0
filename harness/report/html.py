"""Our own summary: one HTML file without scripts, that opens anywhere and needs no generator."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from harness.ledger import Entry, Ledger, Verdict
from harness.report.evidence import attachments
from harness.report.rows import groups

_LARGE = 5_000
"""How many entries are listed one by one. A larger ledger's page counts what passed, and only the first so many that
are not as they must be show their evidence: all is in the site."""

_SHOWN = 300


def write(ledger: Ledger, path: Path) -> None:
    """Write the summary."""
    environment = Environment(
        loader=PackageLoader("harness.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    page = environment.get_template("summary.html.j2").render(
        ledger=ledger,
        groups=list(groups(ledger)),
        attachments=_chosen(ledger),
        unlisted=[Verdict.PASS] if len(ledger.entries) > _LARGE else [],
    )
    path.write_text(page, encoding="utf-8")


def _chosen(ledger: Ledger) -> Callable[[Ledger, Entry], Iterable[tuple[str, str]]]:
    """The evidence that is shown."""
    if len(ledger.entries) <= _LARGE:
        return attachments
    bad = {entry.case for entry in [entry for entry in ledger.entries if not entry.verdict.good][:_SHOWN]}
    return lambda ledger, entry: attachments(ledger, entry) if entry.case in bad else ()
