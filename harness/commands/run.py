"""``svmconf run``: the main job."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from rich.console import Console

from harness import build, circumstances, ledger, paths, report
from harness.commands import options
from harness.engines import select, store
from harness.errors import SvmconfError
from harness.guests import files
from harness.guests.linux import LINUX, Linux
from harness.machine.image import Image
from harness.report import allure_report
from harness.run import STRESS, Run
from harness.shard import Shard

console = Console()


@dataclass(frozen=True)
class Choice:
    """What a person asked a run for; the fields are the options of ``svmconf run``."""

    engine: str = "auto"
    cpu: str = ""
    hypervisor: str = "svmconf"
    defect: str = ""
    expression: str = ""
    workers: str = "auto"
    out: str = str(paths.OUT)
    shard: str = ""
    seed: str = ""
    fetch: bool = False
    guest: str = ""
    stress: float = STRESS
    operations: int = 0


@click.command()
@options.hypervisor
@options.engine
@options.fetch
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
@click.option("--allure/--no-allure", "with_allure", default=True, help="Generate the Allure report.")
def command(with_allure: bool, fetch: bool, stress: float, operations: int, **chosen: str) -> None:
    """Boot a hypervisor, check it against the manual, print a verdict table and write the report.

    Exit status: 0 when everything is as it must be, 1 when a case says otherwise, 2 when nothing could be said.
    """
    folder, status = conduct(Choice(fetch=fetch, stress=stress, operations=operations, **chosen))
    if (folder / "ledger.jsonl").exists() and status != pytest.ExitCode.INTERNAL_ERROR:
        publish(folder, with_allure, folder.parent / allure_report.HISTORY)
        link_latest(folder)
    sys.exit(min(status, 2))


def conduct(choice: Choice, quiet: bool = False) -> tuple[Path, int]:
    """One run of pytest, which prints the verdicts and writes ledger and reports: the run's folder, pytest's status.

    With ``quiet`` nothing is printed, and a run that went wrong raises :class:`SvmconfError`.
    """
    if choice.fetch:
        bring(select.names(choice.engine))
    if choice.guest == LINUX:
        bring(files.parts(Linux()))
    name = f"{circumstances.now().replace(':', '')}-{os.getpid()}"
    shard = Shard.parse(choice.shard) if choice.shard else None
    out = Path(choice.out).resolve()
    while (out / name).exists():  # a second run in the same second
        name += "+"
    run = Run(choice.engine, choice.cpu, choice.hypervisor, choice.defect, out / name, shard)
    said = io.StringIO()
    with contextlib.redirect_stdout(said) if quiet else contextlib.nullcontext():
        try:
            check(run)
            status = pytest.main(_arguments(choice, out, name))
        finally:
            with contextlib.suppress(OSError):
                run.folder.rmdir()  # made in advance, and nothing came
    if quiet and not (run.folder / "ledger.jsonl").exists() and status != pytest.ExitCode.NO_TESTS_COLLECTED:
        why = next(iter(said.getvalue().strip().splitlines()[-1:]), "it said nothing")
        raise SvmconfError(f"the run {name} left no ledger: {why}", "svmconf run with the same options says more")
    if status == pytest.ExitCode.NO_TESTS_COLLECTED:
        hint = "pytest conformance --collect-only -q lists them"
        guest = f" --guest {choice.guest}" if choice.guest else ""
        raise SvmconfError(f"no case matches -k {choice.expression!r}{guest}", hint)
    return run.folder, int(status)


def _arguments(choice: Choice, out: Path, name: str) -> list[str]:
    return [
        *(str(paths.ROOT / "conformance"), f"--rootdir={paths.ROOT}", f"-c{paths.ROOT / 'pyproject.toml'}"),
        *("-qq", "--no-header", "--no-summary", "--tb=no", "-n", choice.workers, f"--engine={choice.engine}"),
        *(f"--cpu={choice.cpu}", f"--hypervisor={choice.hypervisor}", f"--defect={choice.defect}"),
        *(f"--shard={choice.shard}", f"--seed={choice.seed}", f"--out={out}", f"--run-name={name}"),
        *(f"--guest={choice.guest}", f"--stress={choice.stress}", f"--operations={choice.operations}"),
        *(["-k", choice.expression] if choice.expression else []),
    ]


def bring(names: Iterable[str]) -> None:
    """Have engines in the cache. Those that cannot be had are named; the others are there then."""
    wanted = [name.partition("+")[0] for name in names]
    with console.status("fetching") as status:
        try:
            store.ensure(
                [name for name in wanted if name != select.SYSTEM],
                lambda name, step, _done, _whole: status.update(f"{name}: {step}"),
            )
        except store.FetchFailed as error:
            failures = error.failures
        else:
            return
    for name, failure in failures.items():
        console.print(f"[yellow]{name}: {failure}[/]", highlight=False)


def check(run: Run) -> None:
    """Find every mistake that can be found before anything boots, and build what is out of date."""
    run.make_folder()
    run.check_choice()
    for engine in run.engines.values():
        console.print(f"{run.manifest.name} on {engine.description}", highlight=False)
        console.print(f"CPU models: {', '.join(run.cpus(engine))}", highlight=False)
    for name, why in run.unavailable.items():
        console.print(f"[yellow]not on {name}: {why}[/]", highlight=False)
    with console.status("building the hypervisor and the probe"):
        manifest = run.built_manifest()
        try:
            build.probe()
        except SvmconfError as error:
            if run.hypervisor == "svmconf":
                raise
            console.print(f"[yellow]cases that judge the engine are skipped: {error}[/]", highlight=False)
    Image.load(manifest.image)


def publish(folder: Path, with_allure: bool, history: Path | None = None, with_site: bool = True) -> None:
    """Write the site of a run that has its ledger, generate its Allure report, and say where the reports are."""
    if with_site:
        with console.status("writing the site"):
            report.write_site(ledger.read(folder / "ledger.jsonl"), folder)
    allure = _allure(folder, history) if with_allure else ["[yellow]left out (--no-allure)[/]"]
    for what, file in (("summary", "summary.html"), ("matrix", "matrix.html"), ("site", "site/index.html")):
        if (folder / file).exists():
            console.print(f"{what:<8} {_short(folder / file)}", highlight=False)
    for line in allure:
        console.print(f"Allure   {line}", highlight=False)
    console.print(f"ledger   {_short(folder / 'ledger.jsonl')}", highlight=False)


def _allure(folder: Path, history: Path | None) -> list[str]:
    """Generate the Allure report; what to say of it."""
    with console.status("generating the Allure report"):
        try:
            made = allure_report.generate(folder, history)
        except SvmconfError as error:
            return [f"[yellow]{error.what}[/]" + (f": {error.hint}" if error.hint else "")]
    return [_short(made.page), *(f"[red]quality gate: {rule}[/]" for rule in made.gate)]


def link_latest(folder: Path) -> None:
    """Move the link to the latest run."""
    latest = folder.parent / "latest"
    latest.unlink(missing_ok=True)
    latest.symlink_to(folder.name)


def _short(path: Path) -> str:
    """A path as a person would type it from here."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
