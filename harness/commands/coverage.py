"""``svmconf coverage``: how much of the manual the suite covers."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.spec import catalogue, claims, coverage
from harness.spec.catalogue import Requirement
from harness.spec.coverage import Tally

_BAR = 12
_GAPS = 10


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the numbers as JSON.")
@click.option("--update", is_flag=True, help="Mark as covered what cases name now, and raise the ratchet.")
def command(as_json: bool, update: bool) -> None:
    """Tell how many of the catalogue's requirements a case names: by section, kind and priority.

    Exit status 1 when catalogue and cases disagree, or when less is covered than conformance/coverage.toml holds.
    """
    named = {case.id: case.requirements for case in claims.suite()}
    changed = coverage.mark_covered(claims.by_requirement()) if update else []
    known = catalogue.load()
    wrong = claims.complaints(named, known, whole=True)
    requirements = list(known.values())
    tables = {
        "section": coverage.by_section(requirements),
        "kind": coverage.by_kind(requirements),
        "priority": coverage.by_priority(requirements),
    }
    risen = coverage.raise_ratchet(tables["section"]) if update and not wrong else []
    for line in (*(f"{name} is covered now" for name in changed), *risen):
        click.echo(line, err=as_json)
    if as_json:
        click.echo(json.dumps(_plain(tables, requirements), indent=2))
    else:
        _show(tables, coverage.tally(requirements, "all"))
    wrong += coverage.fallen(tables["section"])
    for line in wrong:
        click.echo(f"svmconf: {line}", err=True)
    sys.exit(bool(wrong))


def _show(tables: dict[str, list[Tally]], total: Tally) -> None:
    console = Console()
    for name, rows in tables.items():
        console.print(_table(name, rows, console.width))
    console.print(
        f"{total.covered} of {total.testable} requirements that can be tested are covered, {total.share:.0%}; "
        f"{total.untestable} more cannot be tested, each with its reason; {len(claims.suite())} cases",
        highlight=False,
    )


def _table(name: str, rows: list[Tally], width: int) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    counted = ("covered", "planned", "untestable")
    widths = [max(len(name), *(len(row.name) for row in rows)), *map(len, counted), _BAR + len(" 100%")]
    titles = max(len(row.title) for row in rows)
    table.add_column(name, width=widths[0])
    table.add_column("", width=min(titles, max(10, width - sum(widths) - _GAPS)), no_wrap=True, overflow="ellipsis")
    for column in counted:
        table.add_column(column, justify="right", width=len(column))
    table.add_column("", width=widths[-1])
    for row in rows:
        counts = (
            str(number) if number else Text("-", style="dim") for number in (row.covered, row.planned, row.untestable)
        )
        table.add_row(row.name, row.title, *counts, _bar(row.share) if row.testable else "")
    return table


def _bar(share: float) -> Text:
    """A bar, and the per cent; one that is not full never looks full."""
    full = int(share * _BAR)
    return Text("█" * full, style="green") + Text("░" * (_BAR - full), style="dim") + Text(f" {int(share * 100):3}%")


def _plain(tables: dict[str, list[Tally]], requirements: list[Requirement]) -> dict[str, object]:
    total = coverage.tally(requirements, "all")
    plain = {name: [{**asdict(row), "share": round(row.share, 4)} for row in rows] for name, rows in tables.items()}
    return {"total": {**asdict(total), "share": round(total.share, 4)}, **plain}
