"""The verdict table on the terminal: one screen, worst news with its reason and the command that repeats it."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.ledger import Entry, Ledger, Verdict
from harness.report import matrix, matrix_text
from harness.report.matrix import Matrix
from harness.report.rows import Row, groups
from harness.report.style import STYLE, short_reason

_REASONS_SHOWN = 10
_GAP = 2


def show(ledger: Ledger, console: Console | None = None, shown: Matrix | None = None) -> None:
    """Print the table, the reasons, and the sum; ``shown`` is the ledger's matrix, if it was made already."""
    console = console or Console()
    header = ledger.header
    console.print()
    if header.several:
        matrix_text.show(shown or matrix.of(ledger), console)
        console.print(Text(ledger.arithmetic(), style="bold green" if ledger.good else "bold red"))
        return
    under_test = header.hypervisor + (f" with defect {header.defect}" if header.defect else "")
    for engine in header.engines:
        console.print(f"[bold]{under_test}[/] on [bold]{engine.name}[/] ({engine.why})", highlight=False)
    for name, why in header.unavailable.items():
        console.print(f"[yellow]not on {name}: {why}[/]", highlight=False)
    if ledger.entries:
        console.print(_table(ledger, console.width))
    reasons = _reasons(ledger)
    for reason in reasons[:_REASONS_SHOWN]:
        console.print(reason)
    if len(reasons) > _REASONS_SHOWN:
        console.print(f"... and {len(reasons) - _REASONS_SHOWN} more in the reports")
    console.print(Text(ledger.arithmetic(), style="bold green" if ledger.good else "bold red"))


def _table(ledger: Ledger, width: int) -> Table:
    sections = list(groups(ledger))
    rows = [(_verdicts(row), row.claim, _requirements(row)) for group in sections for row in group.rows]
    table = Table(box=None, pad_edge=False, header_style="dim")
    left, right = (max(len(row[column]) for row in rows) for column in (0, 2))
    claim = max(20, width - left - right - 2 * _GAP)  # a line each, whatever the terminal's width
    table.add_column("verdict", width=left)
    table.add_column("claim", width=claim, no_wrap=True, overflow="ellipsis")
    table.add_column("requirement", width=right, style="dim")
    cells = iter(rows)
    for group in sections:
        table.add_row("", Text(group.heading, style="bold"), "")
        for _ in group.rows:
            table.add_row(*next(cells))
    return table


def _verdicts(row: Row) -> Text:
    parts = [Text(f"{count} {verdict}", style=STYLE[verdict]) for verdict, count in row.counts.items()]
    return Text(", ").join(parts)


def _requirements(row: Row) -> str:
    more = len(row.requirements) - 1
    return row.requirements[0] + (f" +{more}" if more else "") if row.requirements else ""


def _reasons(ledger: Ledger) -> list[Text]:
    """Worst first: one for each failed case and reason; cases with the same other reason are put together."""
    found: dict[tuple[Verdict, str, str], list[Entry]] = {}
    for entry in ledger.entries:
        if entry.verdict is not Verdict.PASS:
            alone = entry.verdict in (Verdict.FAIL, Verdict.EXPECTED_FAIL)
            case = entry.function.removeprefix("conformance/") if alone else ""
            found.setdefault((entry.verdict, case, entry.reason), []).append(entry)
    worst_first = (Verdict.FAIL, Verdict.ERROR, Verdict.NOT_RUN, Verdict.EXPECTED_FAIL, Verdict.SKIP)
    ordered = sorted(found.items(), key=lambda item: worst_first.index(item[0][0]))
    return [_reason(verdict, case, reason, entries) for (verdict, case, reason), entries in ordered]


def _reason(verdict: Verdict, case: str, reason: str, entries: list[Entry]) -> Text:
    where = ", ".join(dict.fromkeys(entry.setting for entry in entries if entry.setting)) or "an unknown setting"
    functions = {entry.function for entry in entries}
    what = case or (f"{len(functions)} cases" if len(functions) > 1 else functions.pop().removeprefix("conformance/"))
    text = Text()
    text.append(verdict, style=STYLE[verdict])
    why = reason if verdict is Verdict.EXPECTED_FAIL else short_reason(entries[0])
    text.append(f" {what} on {where}: {why or 'no reason given'}")
    return text
