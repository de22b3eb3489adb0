"""The matrix on a terminal: a line for each engine, then only the rows where engines differ or something is wrong."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.ledger import Verdict
from harness.report.matrix import WORST_FIRST, Matrix, Row
from harness.report.style import STYLE, short_reason

_ROWS_SHOWN = 30
_NAMED = 3
_GAP = 2


def show(matrix: Matrix, console: Console) -> None:
    """Print engines with their counts, and the rows that are news."""
    console.print(_engines(matrix, console.width))
    news = [row for row in matrix.rows if row.differs or not row.good]
    for row in news[:_ROWS_SHOWN]:
        console.print(_head(row), no_wrap=True, overflow="ellipsis")
        for line in _groups(row, matrix):
            console.print(line)
    if len(news) > _ROWS_SHOWN:
        console.print(f"... and {len(news) - _ROWS_SHOWN} more rows in matrix.html")
    differ = sum(row.differs for row in matrix.rows)
    console.print(f"{len(matrix.rows)} requirements on {len(matrix.columns)} engines: they differ in {differ}")


def _engines(matrix: Matrix, width: int) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    used = [verdict for verdict in reversed(WORST_FIRST) if any(verdict in column.counts for column in matrix.columns)]
    names = max(len(column.name) for column in matrix.columns)
    rest = max(20, width - names - sum(len(verdict) + _GAP for verdict in used) - _GAP)  # a line each
    table.add_column("engine", width=names)
    for verdict in used:
        table.add_column(verdict, justify="right", style=STYLE[verdict], width=len(verdict))
    table.add_column("version", width=rest, no_wrap=True, overflow="ellipsis")
    for column in matrix.columns:
        counts = [str(column.counts.get(verdict, "")) for verdict in used]
        about = Text(f"not here: {column.unavailable}", style="yellow") if column.unavailable else Text(column.version)
        table.add_row(column.name, *counts, about)
    return table


def _head(row: Row) -> Text:
    statement = row.requirement.statement if row.requirement else ""
    return Text(row.id, style="bold").append(f" {statement}", style="not bold dim")


def _groups(row: Row, matrix: Matrix) -> Iterator[Text]:
    """A line or more for each group of engines that observed the same; the norm is not spelled out."""
    for number, group in enumerate(row.groups):
        cell = row.cells[group[0]]
        worst = min((one.entry for one in cell.judged), key=lambda entry: WORST_FIRST.index(entry.verdict))
        verdict = cell.verdict or Verdict.SKIP
        names = [matrix.columns[column].name for column in group]
        many = number == 0 and len(names) > _NAMED and any(cell.odd for cell in row.cells)
        text = Text("  ").append(verdict, style=STYLE[verdict])
        text.append(f" on {len(names)} others" if many else f" on {', '.join(names)}")
        if cell.odd:
            text.append(" (odd)", style="bold")
        if verdict is not Verdict.PASS and worst.reason:
            text.append(f": {short_reason(worst).removeprefix(f'{row.id}: ')}")
        yield text
