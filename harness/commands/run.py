"""``svmconf run``: the main job."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click
import pytest
from rich.console import Console

from harness import build, ledger, paths
from harness.commands import options
from harness.errors import SvmconfError
from harness.machine.image import Image
from harness.report import allure
from harness.run import Run

console = Console()


@click.command()
@options.hypervisor
@options.engine
@click.option(
    "--cpu",
    default="",
    metavar="M,...",
    help="CPU models, or 'all' (default: EPYC, qemu64).",
)
@options.defect
@click.option("-k", "expression", default="", metavar="EXPR", help="Only cases that match, as pytest's -k.")
@click.option("-n", "workers", default="auto", show_default=True, metavar="N", help="Worker processes.")
@options.out
@click.option("--allure/--no-allure", "with_allure", default=True, help="Generate the Allure report.")
def command(
    hypervisor: str, engine: str, cpu: str, defect: str, expression: str, workers: str, out: str, with_allure: bool
) -> None:
    """Boot a hypervisor, check it against the manual, print a verdict table and write the report.

    Exit status: 0 when everything is as it must be, 1 when a case says otherwise, 2 when nothing could be said.
    """
    name = f"{ledger.now().replace(':', '')}-{os.getpid()}"
    run = Run(engine, cpu, hypervisor, defect, Path(out).resolve() / name)
    check(run)
    arguments = [
        *(str(paths.ROOT / "conformance"), f"--rootdir={paths.ROOT}", f"-c{paths.ROOT / 'pyproject.toml'}"),
        *("-qq", "--no-header", "--no-summary", "--tb=no", "-n", workers),
        *(f"--engine={engine}", f"--cpu={cpu}", f"--hypervisor={hypervisor}", f"--defect={defect}"),
        *(f"--out={out}", f"--run-name={name}", *(["-k", expression] if expression else [])),
    ]
    status = pytest.main(arguments)
    if status == pytest.ExitCode.NO_TESTS_COLLECTED:
        raise SvmconfError(f"no case matches -k {expression!r}", "pytest conformance --collect-only -q lists them")
    if (run.folder / "ledger.jsonl").exists() and status != pytest.ExitCode.INTERNAL_ERROR:
        on = ", ".join(run.engines)
        publish(run.folder, f"{run.manifest.name} on {on}", with_allure)
    sys.exit(min(int(status), 2))


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


def publish(folder: Path, name: str, with_allure: bool) -> None:
    """Generate the Allure report, move the link to the latest run, and say where the reports are."""
    problem: str | None = "left out (--no-allure)"
    if with_allure:
        with console.status("generating the Allure report"):
            problem = allure.generate(folder / "allure-results", folder / "allure-report", name)
    latest = folder.parent / "latest"
    latest.unlink(missing_ok=True)
    latest.symlink_to(folder.name)
    console.print(f"summary  {_short(folder / 'summary.html')}", highlight=False)
    if problem is None:
        console.print(f"Allure   {_short(folder / 'allure-report' / 'index.html')}", highlight=False)
    else:
        console.print(f"Allure   [yellow]{problem}[/]", highlight=False)
    console.print(f"ledger   {_short(folder / 'ledger.jsonl')}", highlight=False)


def _short(path: Path) -> str:
    """A path as a person would type it from here."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
