"""Differences of two engines on a terminal, side by side."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.ledger import Entry, number
from harness.report import diff
from harness.report.diff import Diff, Difference, Side
from harness.report.style import STYLE, short_reason

_LINES_SHOWN = 8


def show(found: Diff, console: Console) -> None:
    """Print each difference with both observations, and the sum."""
    for one in found.differences:
        console.print(_table(one, found.left, found.right))
        console.print()
    left_out = [
        f"{n} only on {side.label}" for n, side in zip(found.alone, (found.left, found.right), strict=True) if n
    ]
    left_out += [f"{found.skipped} skipped on one of them"] if found.skipped else []
    cases = sum(len(one.settings) for one in found.differences)
    more = f" ({', '.join(left_out)})" if left_out else ""
    console.print(f"{found.compared} compared{more}: {cases or 'none'} differ", highlight=False)


def _table(one: Difference, left: Side, right: Side) -> Table:
    requirements, case = " ".join(one.left.requirements), one.left.function.removeprefix("conformance/")
    title = Text(one.left.claim or case, style="bold").append(f"\n{requirements}  {case}", style="not bold dim")
    title.append(f"\n{', '.join(one.settings)}" + (f"  {one.left.variant}" if one.left.variant else ""))
    table = Table(title=title, title_justify="left", title_style="", box=None, header_style="dim", pad_edge=False)
    table.add_column("", overflow="fold", max_width=28)
    table.add_column(f"{left.label} ({number(left.version)})", overflow="fold", ratio=1)
    table.add_column(f"{right.label} ({number(right.version)})", overflow="fold", ratio=1)
    table.add_row("verdict", _verdict(one.left), _verdict(one.right))
    lines, more = diff.words(one.lines, _LINES_SHOWN)
    for line in lines:
        table.add_row(Text(line.what), Text(line.left), Text(line.right), style="dim" if line.value else "")
    if more:
        table.add_row(Text(f"and {more} more"))
    return table


def _verdict(entry: Entry) -> Text:
    text = Text(entry.verdict, style=STYLE[entry.verdict])
    return text.append(f": {short_reason(entry)}", style="default not bold") if entry.reason else text
