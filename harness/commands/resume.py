"""``svmconf resume``: finish a run that was killed."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import pytest
from rich.console import Console

from harness import ledger, paths
from harness.commands.run import publish
from harness.errors import SvmconfError
from harness.report import allure_report
from harness.run import Run

console = Console()


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("-n", "workers", default="auto", show_default=True, metavar="N", help="Worker processes.")
@click.option("--allure/--no-allure", "with_allure", default=True, help="Generate the Allure report.")
def command(folder: Path, workers: str, with_allure: bool) -> None:
    """Run what the run in FOLDER has no verdict for, on the engines that it ran on, and write its reports."""
    folder = folder.resolve()
    begun = ledger.of(folder)
    left = sum(entry.lost for entry in begun.entries)
    if not left:
        raise SvmconfError(f"{folder.name} is complete: {begun.arithmetic()}", f"svmconf report {folder}")
    asked = begun.header.asked
    if asked is None:
        raise SvmconfError(f"{folder.name} does not say what it was started with", "start it again: svmconf run")
    _same_engines(begun.header, asked, folder)
    console.print(f"{left} of {len(begun.planned)} cases are left", highlight=False)
    ledger.reopen(folder)
    arguments = [
        *(str(paths.ROOT / "conformance"), f"--rootdir={paths.ROOT}", f"-c{paths.ROOT / 'pyproject.toml'}"),
        *("-qq", "--no-header", "--no-summary", "--tb=no", "-n", workers, "--unfinished"),
        *(f"--engine={asked.engine}", f"--cpu={asked.cpu}", f"--hypervisor={asked.hypervisor}"),
        *(f"--defect={asked.defect}", f"--shard={asked.shard}", "-k", asked.keyword, "-m", asked.marks),
        *(f"--guest={asked.guest}", f"--stress={asked.stress}", f"--operations={asked.operations}"),
        *(f"--out={folder.parent}", f"--run-name={folder.name}", f"--seed={begun.header.seed}"),
    ]
    status = pytest.main(arguments)
    whole = ledger.of(folder)
    publish(folder, with_allure, folder.parent / allure_report.HISTORY)
    sys.exit(min(int(status), 2) or not whole.good)


def _same_engines(header: ledger.Header, asked: ledger.Asked, folder: Path) -> None:
    """A run has one version of an engine: raise :class:`SvmconfError` when one is another by now."""
    now = Run(asked.engine, asked.cpu, asked.hypervisor, asked.defect, folder).engines
    for line in header.engines:
        if line.name not in now:
            raise SvmconfError(f"{line.name} is not here any more", f"svmconf engines fetch {line.name}")
        if now[line.name].version != line.version:
            raise SvmconfError(
                f"{line.name} was {line.version} when the run began, and is {now[line.name].version} now",
                "start a new run",
            )
