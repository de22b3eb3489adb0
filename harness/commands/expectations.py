"""``svmconf expectations``: the known deviations of engines."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from harness import ledger
from harness.spec import expectations, rewrite


@click.group()
def command() -> None:
    """Known deviations of engines (conformance/expectations): check them, or rewrite them from a ledger."""


@command.command()
@click.argument("recorded", metavar="LEDGER", type=click.Path(exists=True, path_type=Path))
@click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
def update(recorded: Path, dry_run: bool) -> None:
    """Rewrite the expectations from LEDGER (a file, or a run's folder), keeping comments and order.

    What passes now is narrowed to where it does not, or removed. What fails on an engine and passes elsewhere is added,
    with a cause that `check` refuses until somebody has understood it.
    """
    changes = rewrite.update(ledger.of(recorded), write=not dry_run)
    for change in changes:
        click.echo(str(change))
    by_hand = sum(change.by_hand for change in changes)
    click.echo(f"{len(changes) - by_hand} {'to change' if dry_run else 'changed'}, {by_hand} left to you")


@command.command()
@click.argument("recorded", metavar="[LEDGER]", required=False, type=click.Path(exists=True, path_type=Path))
def check(recorded: Path | None) -> None:
    """List expectations about unknown requirements or cases, those not understood, and, by LEDGER, those that are stale
    or show in two ways.

    Exit status 1 when there are any.
    """
    wrong = expectations.complaints()
    if recorded is not None:
        witness = ledger.of(recorded)
        wrong += rewrite.stale(witness) + rewrite.two_ways(witness)
    for line in wrong:
        click.echo(line)
    every = expectations.every()
    total = sum(map(len, every.values()))
    click.echo(f"{total} known deviations of {', '.join(every) or 'no engine'}: {len(wrong) or 'nothing'} wrong")
    sys.exit(bool(wrong))
