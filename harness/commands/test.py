"""``svmconf test``: every test."""

from __future__ import annotations

import subprocess
import sys

import click
from rich.progress import track

from harness import build, paths


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--prepare", is_flag=True, help="Set up and build only; the tests are then a matter of pytest or tox.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(prepare: bool, arguments: tuple[str, ...]) -> None:
    """Build every image, that with the seeded defects too, then run ``pytest -n auto --dist worksteal --all-engines``.

    ARGUMENTS go to pytest.
    """
    for product in track(build.everything(seeded=True), "building images"):
        build.built(product)
    if prepare:
        return
    # The proofs of seeded defects take seconds each and stand side by side: who has nothing left takes from who has.
    workers = ("-n", "auto", "--dist", "worksteal")
    command = [sys.executable, "-m", "pytest", *workers, "--all-engines", *arguments]
    sys.exit(subprocess.run(command, cwd=paths.ROOT).returncode)
