"""``svmconf engines``: brings engines of named versions, shows what there is, registers those of your own."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table

from harness.engines import store
from harness.engines.store import added, cache, lock
from harness.engines.store.recipes import recipes
from harness.errors import SvmconfError
from harness.machine.l1 import snapshot

_COLOURS = {
    store.State.READY: "green",
    store.State.OLD: "yellow",
    store.State.LACKING: "yellow",
    store.State.DAMAGED: "red",
    store.State.MISSING: "dim",
}


@click.group()
def command() -> None:
    """Engines of named versions: QEMU, Bochs, and the parts of nested engines, kept in a cache of your own."""


@command.command("list")
@click.option("--check", is_flag=True, help="Take the checksum of every file.")
def show(check: bool) -> None:
    """Show every engine that can be fetched, and how it stands."""
    console = Console(width=None if sys.stdout.isatty() else 160)
    table = Table(box=None, header_style="dim")
    for column in ("engine", "state", "version", "MiB", ""):
        table.add_column(column, overflow="fold", justify="right" if column == "MiB" else "left")
    with console.status("taking checksums" if check else "looking"):
        everything = store.installed(thorough=check)
    for one in everything:
        size = f"{one.size / (1 << 20):.0f}" if one.size else ""
        detail = "; ".join(filter(None, (one.detail, *one.instead)))
        table.add_row(one.name, f"[{_COLOURS[one.state]}]{one.state.value}[/]", one.version, size, detail)
    console.print(table, highlight=False)
    console.print(f"cache: {cache.folder()}", style="dim", highlight=False, soft_wrap=True)
    sys.exit(any(one.state is store.State.DAMAGED for one in everything))


@command.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...|all")
@click.option(
    "--update", is_flag=True, help="Take the versions that the mirror has now, and note them in the lock file."
)
@click.option("--check", is_flag=True, help="Take the checksum of every file that is there, and mend what is damaged.")
def fetch(names: tuple[str, ...], update: bool, check: bool) -> None:
    """Bring engines, and all that they need, in the versions of the lock file. What is there already is left alone."""
    with _Display() as display:
        try:
            store.ensure(names, display, update=update, thorough=check)
            failures: dict[str, SvmconfError] = {}
        except store.FetchFailed as error:
            failures = error.failures
    for name, failure in failures.items():
        click.echo(f"svmconf: {name}: {failure.what}", err=True)
        if failure.hint:
            click.echo(f"         way out: {failure.hint}", err=True)
    known = recipes().component
    asked = recipes().closure(tuple(known if "all" in names else (name for name in names if name in known)))
    for one in store.installed():
        for change in one.instead if one.name in asked else ():
            click.echo(f"{one.name}: {change}, which the mirror has no more")
    click.echo(f"{display.ready} ready, {len(failures)} failed{': ' if failures else ''}{', '.join(failures)}")
    sys.exit(bool(failures))


@command.command()
@click.argument("names", nargs=-1, metavar="NAME...")
@click.option("--old", is_flag=True, help="Remove versions that the lock file does not name.")
@click.option(
    "--all", "everything", is_flag=True, help="Remove every fetched engine, and all that was kept for fetching."
)
def remove(names: tuple[str, ...], old: bool, everything: bool) -> None:
    """Remove engines from the cache, with the states saved of them; of those of your own, only the entry."""
    if not (names or old or everything):
        raise click.UsageError("give the names of engines, --old or --all")
    own = added.registry().engines
    for name in names:
        if name not in own and name not in cache.names():
            recipes().of(name)  # a mistake is said before anything is removed
    for name in names:
        if name in own:
            added.remove(name)
            click.echo(f"{name}: forgotten")
        else:
            _say_removed(name, cache.clear(name))
            recipe = recipes().component.get(name)
            for part in (name, *(recipe.needs if recipe else ())):  # a state is filed under what was booted
                snapshot.remove(part)
    for name in cache.names() if old or everything else ():
        locked = lock.read().get(name)
        recipe = recipes().component.get(name)
        current = locked.digest(recipe) if locked and recipe and not everything else ""
        _say_removed(name, cache.clear(name, keep=current), "removed" if everything else "old version removed")
    if everything:
        cache.clear_lists()
        snapshot.remove()


@command.command()
@click.argument("name")
def path(name: str) -> None:
    """Print where an engine is, and how to run it by hand: a line for your shell."""
    recipe = recipes().component.get(name)
    if recipe is None or recipes().family[recipe.family].program:
        runnable = store.runnable(name)
        click.echo(runnable.root)
        click.echo(runnable.shell)
        return
    for part in recipes().closure((name,)):
        if recipes().of(part).packages:
            click.echo(f"{part:16} {store.tree(part).root}" if part != name or recipe.needs else store.tree(part).root)


@command.command()
@click.argument("name")
@click.option("--binary", required=True, type=click.Path(path_type=Path), help="The program: a QEMU or a Bochs.")
@click.option("--data", type=click.Path(path_type=Path, exists=True, file_okay=False), help="The folder of its ROMs.")
@click.option("--env", "settings", multiple=True, metavar="K=V", help="What it needs in its environment.")
def add(name: str, binary: Path, data: Path | None, settings: tuple[str, ...]) -> None:
    """Register a QEMU or Bochs that you have, say a build of your own, as an engine of that name."""
    if wrong := [setting for setting in settings if "=" not in setting]:
        raise click.UsageError(f"--env {wrong[0]}: give NAME=VALUE")
    runnable = added.add(name, binary, data, dict(setting.split("=", 1) for setting in settings))
    click.echo(f"{name}: {runnable.family} {runnable.version}")


def _say_removed(name: str, count: int, what: str = "removed") -> None:
    if count:
        click.echo(f"{name}: {what}" + (f" ({count} of them)" if count > 1 else ""))
    elif name not in cache.names():
        click.echo(f"{name}: was not there")


class _Display:
    """Shows how each component stands, a line each; where there is no terminal, a line when one is ready."""

    def __init__(self) -> None:
        self.ready = 0
        columns = (TextColumn("{task.fields[name]:16}"), TextColumn("{task.description:10}"), BarColumn())
        self._terminal = sys.stdout.isatty()
        self._progress = Progress(*columns, TextColumn("{task.fields[much]}"), disable=not self._terminal)
        self._tasks: dict[str, TaskID] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> _Display:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, name: str, stage: str, done: int, total: int) -> None:
        with self._lock:
            self.ready += stage == "ready"
            if stage not in ("ready", "failed"):
                self._show(name, stage, done, total)
            elif name in self._tasks:
                self._progress.remove_task(self._tasks.pop(name))
                if not self._terminal:
                    click.echo(f"{name}: {stage}")

    def _show(self, name: str, stage: str, done: int, total: int) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(stage, name=name, much="", total=None)
        much = f"{done >> 20}/{total >> 20} MiB" if stage == "download" else ""
        self._progress.update(self._tasks[name], description=stage, completed=done, total=total or None, much=much)
