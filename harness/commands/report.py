"""``svmconf report``: the reports, from a ledger alone."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from harness import ledger
from harness.commands import options
from harness.commands.run import link_latest, publish
from harness.errors import SvmconfError
from harness.report import terminal, write_all


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--allure/--no-allure", "with_allure", default=True, help="Generate the Allure report.")
@options.history
def command(folder: Path, with_allure: bool, history: Path | None) -> None:
    """Write the reports of the run in FOLDER from its ledger; that of a run that was killed is put together first."""
    folder = folder.resolve()
    whole = folder / "ledger.jsonl"
    found = ledger.read(whole) if whole.exists() else ledger.merge(folder)
    if found is None:
        raise SvmconfError(f"{folder} holds no ledger", "give a run's folder, such as reports/out/latest")
    write_all(found, folder)
    terminal.show(found)
    publish(folder, with_allure, history)
    link_latest(folder)
    sys.exit(not found.good)
