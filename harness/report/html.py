"""Our own summary: one HTML file without scripts, that opens anywhere and needs no generator."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from harness.ledger import Ledger
from harness.report.evidence import attachments
from harness.report.rows import groups


def write(ledger: Ledger, path: Path) -> None:
    """Write the summary."""
    environment = Environment(
        loader=PackageLoader("harness.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    page = environment.get_template("summary.html.j2").render(
        ledger=ledger, groups=list(groups(ledger)), attachments=attachments
    )
    path.write_text(page, encoding="utf-8")
