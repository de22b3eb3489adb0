"""``svmconf bisect``: which version of an engine changed its mind on a requirement."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from harness import ledger, merge
from harness.bisect import Found, bisect
from harness.commands import options
from harness.commands.run import Choice, bring, conduct
from harness.engines import select, store
from harness.engines.store import added
from harness.errors import SvmconfError
from harness.ledger import Ledger
from harness.report import diff, diff_text, matrix
from harness.report.matrix import Observed
from harness.report.style import STYLE
from harness.spec import catalogue

console = Console()


@click.command()
@click.argument("requirement")
@click.option(
    "--engines", default="", metavar="A,B,...", help="The row (default: what there is of the family, by version)."
)
@click.option("--family", default="qemu", show_default=True, metavar="F", help="qemu, bochs, kvm or xen.")
@options.fetch
@options.cpu
@click.option("--all", "every", is_flag=True, help="Ask every engine of the row, so that no change is missed.")
@click.option(
    "--ledger", "ledgers", multiple=True, metavar="FILE", type=click.Path(exists=True, path_type=Path),
    help="Run nothing: take the answers from this ledger; may be given several times.",
)  # fmt: skip
@options.workers
@options.out
def command(
    requirement: str,
    engines: str,
    family: str,
    every: bool,
    ledgers: tuple[Path, ...],
    fetch: bool,
    cpu: str,
    workers: str,
    out: str,
) -> None:
    """Name the first engine in a row whose verdict or observation on REQUIREMENT is not that of the first.

    The ends are asked first; between them only as many as are needed.

    Exit status: 0 when nothing changed, 1 when something did, 2 when nothing could be said.
    """
    id = catalogue.find(requirement).id
    choice = Choice(cpu=cpu, expression=id, workers=workers, out=out, fetch=fetch)
    answers = _Recorded(id, ledgers) if ledgers else _Running(id, choice)
    row = [name.strip() for name in engines.split(",") if name.strip()] or answers.row(family)
    if len(row) < 2:
        raise SvmconfError(
            f"a row of {len(row)} has no change in it", "--engines A,B,... names one; svmconf engines list"
        )
    found = bisect(row, answers, every)
    _tell(found, row, answers, id)
    sys.exit(bool(found.changes))


class _Answers:
    """What engines observe on a requirement: each is asked once, and told when it has answered."""

    def __init__(self, requirement: str) -> None:
        self.requirement = requirement
        self.cells: dict[str, matrix.Cell] = {}

    def __call__(self, engine: str) -> Observed:
        table = matrix.of(self.ledger(engine))
        column = next((n for n, one in enumerate(table.columns) if one.name == engine), None)
        row = next((row for row in table.rows if row.id == self.requirement), None)
        if column is None or row is None or not row.cells[column].judged:
            raise SvmconfError(f"no case of {self.requirement} ran on {engine}", "svmconf spec shows what is covered")
        self.cells[engine] = row.cells[column]
        console.print(_said(engine, table.columns[column].version, row.cells[column]))
        return row.cells[column].observed

    def ledger(self, engine: str) -> Ledger:
        """The one that holds what this engine observed."""
        raise NotImplementedError

    def row(self, family: str) -> list[str]:
        """The engines of a family, by version."""
        raise NotImplementedError


class _Running(_Answers):
    """Answers by running the requirement's cases."""

    def __init__(self, requirement: str, choice: Choice) -> None:
        super().__init__(requirement)
        self._choice = choice
        self._ledgers: dict[str, Ledger] = {}

    def ledger(self, engine: str) -> Ledger:
        if engine not in self._ledgers:
            with console.status(f"{self.requirement} on {engine}"):
                folder, _ = conduct(replace(self._choice, engine=engine), quiet=True)
            self._ledgers[engine] = ledger.of(folder)
        return self._ledgers[engine]

    def row(self, family: str) -> list[str]:
        if self._choice.fetch:
            bring(name for name in store.known() if name.startswith(f"{family}-"))
        usable, own = (store.State.READY, store.State.OLD), added.registry().engines
        found = [one for one in store.installed() if one.family == family and one.state in usable]
        found = [one for one in found if one.name not in own]  # a name of the user's own tells no order
        return [one.name for one in sorted(found, key=lambda one: _version(one.version or one.name))]


class _Recorded(_Answers):
    """Answers from ledgers."""

    def __init__(self, requirement: str, places: tuple[Path, ...]) -> None:
        super().__init__(requirement)
        self._places = places

    @cached_property
    def _whole(self) -> Ledger:
        parts = [ledger.of(place) for place in self._places]
        return parts[0] if len(parts) == 1 else merge.merge(merge.apart(parts), "several")

    def ledger(self, engine: str) -> Ledger:
        return self._whole

    def row(self, family: str) -> list[str]:
        found = [one for one in self._whole.header.engines if one.name.startswith(f"{family}-")]
        named = [one for one in found if one.name.partition("@")[0] != select.SYSTEM]
        return [one.name for one in sorted(named or found, key=lambda one: _version(one.version or one.name))]


def _version(text: str) -> list[int]:
    """The numbers of an upstream version: 10.0.2 of ``10.0.2 (Debian 1:10.0.2+ds-2)`` or ``qemu-10.0.2``."""
    return [int(digits) for digits in re.findall(r"\d+", ledger.number(text).partition("+")[0])]


def _said(engine: str, version: str, cell: matrix.Cell) -> Text:
    text = Text(f"{engine:<12} {ledger.number(version):<10} ")
    for n, (verdict, count) in enumerate(cell.counts.items()):
        text.append(", " if n else "").append(f"{count} {verdict}", style=STYLE[verdict])
    return text


def _tell(found: Found[Observed], row: list[str], answers: _Answers, requirement: str) -> None:
    console.print(f"asked {len(found.seen)} of {len(row)} engines", highlight=False)
    for before, after in found.changes:
        console.print(f"\n[bold]{requirement} changed in {after}[/]: unlike {before} before it", highlight=False)
        sides = diff.side(answers.ledger(before), before), diff.side(answers.ledger(after), after)
        diff_text.show(diff.compare(*sides, chosen=lambda entry: requirement in entry.requirements), console)
    if not found.changes:
        between = "" if len(found.seen) == len(row) else "; those between were not asked (--all asks them)"
        console.print(f"nothing changed between {row[0]} and {row[-1]}{between}", highlight=False)
    if not found.monotonic:
        why = f": {', '.join(found.strays)} unlike both ends" if found.strays else ": the row goes to and fro"
        more = "" if len(found.seen) == len(row) else "; --all finds every one"
        console.print(f"[yellow]there is more than one change{why}{more}[/]", highlight=False)
