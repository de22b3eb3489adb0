"""``svmconf merge``: one ledger of several."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from harness import ledger, merge
from harness.commands import options
from harness.commands.run import publish
from harness.report import terminal, write_all


@click.command()
@click.argument("ledgers", nargs=-1, required=True, metavar="LEDGER...", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--out", required=True, metavar="FOLDER", type=click.Path(path_type=Path), help="The merged run's folder."
)
@click.option("--prefer", type=click.Choice(["newest"]), help="What holds where two have different verdicts on a case.")
@click.option("--allure/--no-allure", "with_allure", default=True, help="Generate the Allure report.")
@options.history
def command(ledgers: tuple[Path, ...], out: Path, prefer: str | None, with_allure: bool, history: Path | None) -> None:
    """Put the shards of a run together, or runs of several engines and machines, and write the reports of the whole.

    LEDGER is a run's folder or its ledger.jsonl. Cases of a shard that is missing are not-run, and say so. The exit
    status is that of `svmconf run`.
    """
    folder = out.resolve()
    whole = merge.merge([ledger.of(place) for place in ledgers], folder.name, newest=prefer == "newest")
    folder.mkdir(parents=True, exist_ok=True)
    ledger.settle(whole, folder)
    write_all(whole, folder)
    terminal.show(whole)
    publish(folder, with_allure, history)
    sys.exit(not whole.good)
