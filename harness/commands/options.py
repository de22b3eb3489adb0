"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from harness import paths

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

engine: Decorator = click.option("--engine", default="auto", show_default=True, metavar="E", help="auto, tcg or kvm.")
hypervisor: Decorator = click.option(
    "--hypervisor", default="svmconf", show_default=True, metavar="X", help="A manifest: one of ours, or a .toml file."
)
defect: Decorator = click.option("--defect", default="", metavar="NAME", help="Build ours with this seeded defect.")
out: Decorator = click.option(
    "--out", default=str(paths.OUT), metavar="DIR", help="Where runs are written (default: reports/out)."
)
