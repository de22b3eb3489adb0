"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from harness import paths

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

engine: Decorator = click.option(
    "--engine", default="auto", show_default=True, metavar="E", help="auto, tcg, kvm, names such as qemu-10.0, or all."
)
fetch: Decorator = click.option("--fetch", is_flag=True, help="Fetch engines that are missing first.")
cpu: Decorator = click.option(
    "--cpu", default="", metavar="M,...", help="CPU models, or 'all' (default: the engine's own choice)."
)
expression: Decorator = click.option(
    "-k", "expression", default="", metavar="EXPR", help="Only cases that match, as pytest's -k; or a requirement's id."
)
workers: Decorator = click.option(
    "-n", "workers", default="auto", show_default=True, metavar="N", help="Worker processes."
)
shard: Decorator = click.option(
    "--shard", default="", metavar="I/N", help="Only part I of N, for N machines; svmconf merge puts them together."
)
guest: Decorator = click.option(
    "--guest", default="", metavar="G", help="Only cases that boot this guest, such as linux."
)
stress: Decorator = click.option(
    "--stress", default=2.0, show_default=True, metavar="S", help="Seconds that a Linux guest is kept busy."
)
operations: Decorator = click.option(
    "--operations",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Let the fuzzer (--guest pc.fuzz) act N times, too; N is its seed as well.",
)
seed: Decorator = click.option(
    "--seed", default="", metavar="N", help="What is drawn at random hangs on it (default: a new one each run)."
)
hypervisor: Decorator = click.option(
    "--hypervisor", default="svmconf", show_default=True, metavar="X", help="A manifest: one of ours, or a .toml file."
)
defect: Decorator = click.option("--defect", default="", metavar="NAME", help="Build ours with this seeded defect.")
out: Decorator = click.option(
    "--out", default=str(paths.OUT), metavar="DIR", help="Where runs are written (default: reports/out)."
)
history: Decorator = click.option(
    "--history",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Allure's history: its trends come from there, and this run is added.",
)
