"""``svmconf verify``: whether a published run can be trusted to be whole."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich.console import Console

from harness import ledger
from harness.errors import SvmconfError
from harness.verify import problems


@click.command()
@click.argument("run", type=click.Path(exists=True, path_type=Path))
def command(run: Path) -> None:
    """Check that the ledger RUN (a file, or a run's folder) is complete and unaltered. Exit status 1 when it is not."""
    path = run / "ledger.jsonl" if run.is_dir() else run
    if not path.exists():
        raise SvmconfError(f"{run} holds no whole ledger", f"svmconf resume {run} finishes a run that was killed")
    console = Console()
    found = list(problems(path))
    for problem in found:
        console.print(f"[red]{problem}[/]", highlight=False)
    whole = ledger.read(path)
    console.print(f"{whole.header.run}: {whole.arithmetic()}; " + ("NOT whole" if found else "whole and unaltered"))
    sys.exit(bool(found))
