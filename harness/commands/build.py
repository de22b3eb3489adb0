"""``svmconf build``: the images."""

from __future__ import annotations

import click
from rich.progress import track

from harness import build


@click.command()
@click.option("--all", "defective", is_flag=True, help="Those with seeded defects too.")
def command(defective: bool) -> None:
    """Build the hypervisor and the probe, if they are out of date, and print where they are."""
    for package, binary, defect in track(build.everything(defective), "building images", transient=True):
        build.built(package, binary, defect)
    for package, binary, defect in build.everything(defective):
        click.echo(build.built(package, binary, defect))
