"""``svmconf campaign``: the same guests on several engines and in the model, as long as you like."""

from __future__ import annotations

import random
import time
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from harness import build, paths
from harness.campaign.cluster import cluster
from harness.campaign.explore import Where
from harness.campaign.folder import Folder, Plan
from harness.campaign.schedule import campaign
from harness.engines import select
from harness.errors import SvmconfError
from harness.machine.image import Image

_CHUNK = 50
_OUT = paths.ROOT / "reports" / "campaigns"


@click.command()
@click.option("--engines", default="auto", show_default=True, metavar="E,...", help="Engines to compare.")
@click.option("--cpu", default="", metavar="M", help="CPU model, on the engines that have it (default: their first).")
@click.option("--seconds", default=60.0, show_default=True, metavar="N", help="How long.")
@click.option("--seed", default=None, type=int, metavar="S", help="What is drawn hangs on it (default: a new one).")
@click.option("--workers", default=0, metavar="N", help="Worker processes (default: one for each processor).")
@click.option("--scheduler", default="", metavar="ADDR", help="A Dask scheduler, such as tcp://host:8786.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Its folder (default: reports/campaigns/SEED). An existing one goes on where it was.",
)
def command(
    engines: str, cpu: str, seconds: float, seed: int | None, workers: int, scheduler: str, out: Path | None
) -> None:
    """Generate guests, run each on all engines, and compare with the model and with each other.

    Every disagreement is made as small as it can be and kept in a folder of its own: a report ready for a bug tracker,
    the image, and a script for ``svmconf lab``. Ctrl-C ends it; the same command with --seed goes on.
    """
    seed = random.SystemRandom().randrange(1 << 32) if seed is None else seed
    on, versions = _where(engines, cpu)
    probe = Image.load(build.probe())
    folder = Folder(out or _OUT / str(seed), Plan(seed=seed, size=_CHUNK, on=on, versions=versions))
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn()
    started = time.monotonic()
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("starting workers", total=seconds)

        def tell(done: int, found: int) -> None:
            passed = time.monotonic() - started
            progress.update(task, completed=min(passed, seconds), description=f"{done:,} guests, {found} findings")

        try:
            with cluster(scheduler, workers) as work:
                campaign(work, folder, probe, seconds, tell)
        finally:
            text = folder.summarize()
    click.echo(text)
    click.echo(f"seed {seed}; folder {folder.path}")


def _where(engines: str, cpu: str) -> tuple[tuple[Where, ...], dict[str, str]]:
    found: list[Where] = []
    versions: dict[str, str] = {}
    for name in select.names(engines):
        engine = select.engine(name)
        models = engine.cpu_models()
        wanted = [engine.cpu(cpu).name] if cpu and cpu.partition(",")[0] in models else list(engine.default_cpus)
        model = next((one for one in wanted if one in models and models[one].svm), "") if not cpu else wanted[0]
        if not model:
            raise SvmconfError(f"{name} has no CPU model with SVM", "svmconf engines list")
        found.append(Where(engine=engine.name, cpu=model))
        versions[engine.name] = engine.version
    return tuple(found), versions
