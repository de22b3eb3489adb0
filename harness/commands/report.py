"""``svmconf report``: the reports, from ledgers alone."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import click

from harness import ledger
from harness.commands import options
from harness.commands.run import link_latest, publish
from harness.errors import SvmconfError
from harness.report import terminal, write_all


@click.command()
@click.argument("places", metavar="LEDGER...", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--to", metavar="DIR", type=click.Path(file_okay=False, path_type=Path), help="Write them elsewhere.")
@click.option("--allure/--no-allure", "with_allure", default=True, help="Generate the Allure report.")
@options.history
def command(places: tuple[Path, ...], to: Path | None, with_allure: bool, history: Path | None) -> None:
    """Write the reports of a run from its ledger into its folder; a LEDGER is a run's folder, or its ledger.jsonl.

    Of several the latest is reported, and the others are the earlier runs that it is compared with, besides those that
    are found beside it. The ledger of a run that was killed is put together first. Exit status as for run.
    """
    *earlier, path = sorted({_ledger(place.resolve()) for place in places}, key=_started)
    folder = _folder(path, to.resolve()) if to else path.parent
    found = ledger.read(path)
    shown = write_all(found, folder, earlier, allure_results=with_allure, with_site=True)
    terminal.show(found, shown=shown)
    publish(folder, with_allure, history, with_site=False)
    if to is None:
        link_latest(folder)
    sys.exit(not found.good)


def _ledger(place: Path) -> Path:
    """The ledger's file of a run; one that was killed leaves parts, which are put together."""
    path = place / "ledger.jsonl" if place.is_dir() else place
    if not path.exists() and ledger.merge(place) is None:
        raise SvmconfError(f"{place} holds no ledger", "give a run's folder, such as reports/out/latest")
    if path.name != "ledger.jsonl":
        raise SvmconfError(f"{path} is not called ledger.jsonl", "give a run's folder, or the ledger.jsonl in it")
    return path


def _started(path: Path) -> tuple[str, str]:
    header = ledger.header(path)
    return header.started, header.run


def _folder(path: Path, to: Path) -> Path:
    """The other folder, with the ledger in it: reports stand beside what they are made of."""
    try:
        to.mkdir(parents=True, exist_ok=True)
        if path.parent != to:
            shutil.copyfile(path, to / path.name)
    except OSError as error:
        raise SvmconfError(f"cannot write reports to {to}: {error.strerror}", "--to chooses another folder") from error
    return to
