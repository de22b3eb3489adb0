"""``svmconf build``: the images."""

from __future__ import annotations

import click
from rich.progress import track

from harness import build


@click.command()
@click.option("--all", "seeded", is_flag=True, help="That with the seeded defects too.")
def command(seeded: bool) -> None:
    """Build the hypervisor and the probe, if they are out of date, and print where they are."""
    for product in track(build.everything(seeded), "building images", transient=True):
        build.built(product)
    for product in build.everything(seeded):
        click.echo(build.built(product))
