"""``svmconf audit``: whether every case can turn red."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich.console import Console
from rich.progress import track
from rich.table import Table

from harness import ledger, suite
from harness.audit import audit
from harness.commands import options
from harness.errors import SvmconfError


@click.command()
@click.argument("run", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("-k", "expression", default="", metavar="WORD", help="Only cases with this word in their name.")
@options.out
def command(run: Path | None, expression: str, out: str) -> None:
    """Replay the observations of RUN (its folder or ledger; default: the latest) with one thing changed at a time.

    Exit status 1 when there is a case that nothing turns red and conformance/audit.toml gives no reason.
    """
    path = run or Path(out) / "latest"
    path = path / "ledger.jsonl" if path.is_dir() else path
    if not path.exists():
        raise SvmconfError(f"no ledger at {path}", "./svmconf run makes one")
    found = ledger.read(path)
    total = sum(expression in name for mark in ("boots", "executes") for name, _, _ in suite.cases(mark))
    results = list(track(audit(found, expression), "auditing", total=total, transient=True))
    if not results:
        raise SvmconfError(f"no case has {expression!r} in its name")
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column("")
    table.add_column("case", no_wrap=True, ratio=3, overflow="ellipsis")
    table.add_column("turned red by", no_wrap=True, ratio=2, overflow="ellipsis")
    table.add_column("tried", justify="right")
    for one in results:
        mark = "[green]ok[/]" if one.turned_by else "[yellow]reason[/]" if one.reason else "[red]never[/]"
        words = one.turned_by or one.reason or ("no change" if one.observations else "no observation that it passed")
        table.add_row(mark, one.case, words, str(one.tried))
    console = Console()
    console.print(table)
    for one in results:
        if not one.good:
            console.print(f"never red: {one.case}", highlight=False)
    bad = [one for one in results if not one.good]
    console.print(f"{len(results)} cases, {len(bad)} that nothing turns red", style="bold red" if bad else "bold green")
    sys.exit(bool(bad))
