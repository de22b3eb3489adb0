"""``svmconf matrix``: the same cases on a row of engines, and where these differ."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import click
import pytest
from rich.console import Console
from rich.text import Text

from harness import circumstances, ledger, merge
from harness.commands import options
from harness.commands.run import Choice, conduct, link_latest, publish
from harness.engines import kvm, select, store
from harness.errors import SvmconfError
from harness.ledger import Ledger
from harness.report import allure_report, matrix, matrix_page, matrix_text

console = Console()


@click.command()
@click.option(
    "--engines", "engine", default="", metavar="A,B|all", help="Which (default: every one that is on this machine)."
)
@options.fetch
@options.hypervisor
@options.cpu
@options.defect
@options.expression
@options.workers
@options.guest
@options.stress
@options.operations
@options.shard
@options.seed
@options.out
@click.option(
    "--ledger", "ledgers", multiple=True, metavar="FILE", type=click.Path(exists=True, path_type=Path),
    help="Boot nothing: make it from this ledger, or run's folder; may be given several times.",
)  # fmt: skip
@click.option("--all-requirements", "uncovered", is_flag=True, help="Rows for requirements that no case checks, too.")
@click.option("--allure/--no-allure", "with_allure", default=False, help="Generate the Allure report.")
def command(
    engine: str,
    fetch: bool,
    stress: float,
    operations: int,
    ledgers: tuple[Path, ...],
    uncovered: bool,
    with_allure: bool,
    **chosen: str,
) -> None:
    """Run the chosen cases on a row of engines and write a table: requirement by engine, and the odd one out per row.

    An engine that is not here does not stop the others: its column says why. The exit status is that of `svmconf run`.
    """
    if ledgers:
        sys.exit(not _from_ledgers(ledgers, Path(chosen["out"]).resolve(), uncovered).good)
    names = select.names(engine or "all") if engine or fetch else here()
    folder, status = conduct(
        Choice(engine=",".join(names), fetch=fetch, stress=stress, operations=operations, **chosen)
    )
    if not (folder / "ledger.jsonl").exists() or status == pytest.ExitCode.INTERNAL_ERROR:
        sys.exit(min(status, 2))
    if uncovered or not (folder / "matrix.html").exists():  # of a single engine none was written
        matrix_page.write(matrix.of(ledger.of(folder), uncovered), folder)
    publish(folder, with_allure, folder.parent / allure_report.HISTORY)
    link_latest(folder)
    sys.exit(min(status, 2))


def here() -> tuple[str, ...]:
    """Every engine that is on this machine or in the cache; with KVM where it offers SVM."""
    system = [select.SYSTEM] if shutil.which(select.binary()) else []
    if system and kvm.detect().svm:
        system.append(f"{select.SYSTEM}+kvm")
    usable = {one.name for one in store.installed() if one.state in (store.State.READY, store.State.OLD)}
    return *system, *(name for name in store.known() if name in usable)


def _from_ledgers(places: tuple[Path, ...], out: Path, uncovered: bool) -> Ledger:
    parts = [ledger.of(place) for place in places]
    folder = out / f"matrix-{circumstances.now().replace(':', '')}"
    whole = parts[0] if len(parts) == 1 else merge.merge(merge.apart(parts), folder.name)
    table = matrix.of(whole, uncovered)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        matrix_page.write(table, folder)
    except OSError as error:
        raise SvmconfError(f"cannot write to {folder}: {error.strerror}", "--out DIR chooses another folder") from error
    matrix_text.show(table, console)
    console.print(Text(whole.arithmetic(), style="bold green" if whole.good else "bold red"))
    console.print(f"matrix   {folder / 'matrix.html'}", highlight=False, soft_wrap=True)
    return whole
