"""The verdict table on the terminal: one screen, worst news with its reason and the command that repeats it."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.ledger import Entry, Ledger, Verdict
from harness.report.rows import Row, groups

STYLE = {
    Verdict.PASS: "green",
    Verdict.FAIL: "bold red",
    Verdict.SKIP: "yellow",
    Verdict.EXPECTED_FAIL: "magenta",
    Verdict.ERROR: "bold red",
    Verdict.NOT_RUN: "red",
}
_REASONS_SHOWN = 10


def show(ledger: Ledger, folder: Path, console: Console | None = None) -> None:
    """Print the table, the reasons, the sum, and where the reports are."""
    console = console or Console()
    header = ledger.header
    console.print()
    under_test = header.hypervisor + (f" with defect {header.defect}" if header.defect else "")
    console.print(f"[bold]{under_test}[/] on [bold]{header.engine}[/] ({header.engine_why})", highlight=False)
    console.print(_table(ledger))
    for entry in [e for e in ledger.entries if not e.verdict.good][:_REASONS_SHOWN]:
        console.print(_reason(entry))
    hidden = sum(not e.verdict.good for e in ledger.entries) - _REASONS_SHOWN
    if hidden > 0:
        console.print(f"... and {hidden} more in the reports")
    console.print(Text(ledger.arithmetic(), style="bold green" if ledger.good else "bold red"))


def _table(ledger: Ledger) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("verdict", no_wrap=True)
    table.add_column("claim", ratio=1)
    table.add_column("requirement", no_wrap=True, style="dim")
    for group in groups(ledger):
        table.add_row("", Text(group.heading, style="bold"), "")
        for row in group.rows:
            more = len(row.requirements) - 1
            table.add_row(
                _verdicts(row),
                row.claim,
                row.requirements[0] + (f" +{more}" if more else "") if row.requirements else "",
            )
    return table


def _verdicts(row: Row) -> Text:
    parts = [Text(f"{count} {verdict}", style=STYLE[verdict]) for verdict, count in row.counts.items()]
    return Text(", ").join(parts)


def _reason(entry: Entry) -> Text:
    text = Text()
    text.append(f"{entry.verdict}", style=STYLE[entry.verdict])
    text.append(f" {entry.function.removeprefix('conformance/')} on {entry.setting or 'an unknown setting'}: ")
    text.append(entry.reason.splitlines()[0] if entry.reason else "no reason given")
    return text
