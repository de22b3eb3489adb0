"""The engine store: brings engines of named versions into a cache, and says how to run what is there.

::

    store.ensure(["qemu-10.0"])            # fetch what is missing: no network when all is there
    run = store.runnable("qemu-10.0")      # run.argv, run.arguments, run.env, run.version
    kernel = store.tree("linux-6.12")      # kernel.root / "boot", kernel.version

What a component is made of is in ``recipes.toml``, which exact packages in ``lock.toml``. The work is in
:mod:`~harness.engines.store.fetch` (one component), :mod:`~harness.engines.store.apt` (the mirror),
:mod:`~harness.engines.store.keep` (what is kept of packages), :mod:`~harness.engines.store.cache` (what is there, whole
or not) and :mod:`~harness.engines.store.programs` (running without chroot).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from harness.engines.store import added, cache, lock, programs, recipes
from harness.engines.store.errors import EngineMissing, FetchError, FetchFailed, Stopped
from harness.engines.store.fetch import Fetch, Report, Wish, silent
from harness.engines.store.programs import Runnable
from harness.engines.store.stamp import Kept
from harness.engines.store.standing import Installed, State, installed
from harness.errors import EngineError, SvmconfError

__all__ = [
    "EngineMissing",
    "FetchError",
    "FetchFailed",
    "Installed",
    "Report",
    "Runnable",
    "State",
    "Tree",
    "ensure",
    "installed",
    "known",
    "needs",
    "runnable",
    "tree",
]

_AT_ONCE = 4


class Tree(BaseModel):
    """An unpacked part of an engine: ``version`` is the exact package version, ``root`` the unpacked tree."""

    model_config = ConfigDict(frozen=True)

    name: str
    version: str
    root: Path


def known() -> tuple[str, ...]:
    """Every engine that can be asked for by name, the added ones too; not the parts of engines."""
    own = (name for name, recipe in recipes.recipes().component.items() if recipe.family in recipes.ENGINES)
    return (*own, *added.registry().engines)


def needs(name: str) -> tuple[str, ...]:
    """The components that an engine is made of beside its own files: those of ``kvm-6.12`` are a QEMU, a kernel, ..."""
    return recipes.recipes().of(name).needs


def runnable(name: str, program: str | None = None) -> Runnable:
    """How to run an engine's program, or another program of its tree (a path below its root).

    :raises EngineMissing: it is not in the cache, or damaged.
    :raises EngineError: it is not one program.
    """
    if name in added.registry().engines:
        return added.runnable(name)
    recipe = recipes.recipes().of(name)
    program = program or recipes.recipes().family[recipe.family].program
    if not program:
        raise EngineError(f"{name} is not one program to run: it is made of {', '.join(recipe.needs) or 'files'}")
    one = _usable(name)
    return programs.unpacked(name, recipe.family, one.stamp.version, one.root, program)


def tree(name: str) -> Tree:
    """Where a part of a nested engine (``linux-*``, ``xen-*``, ``busybox``) is.

    :raises EngineMissing: it is not in the cache, or damaged.
    :raises EngineError: it has no files of its own.
    """
    one = _usable(name)
    return Tree(name=name, version=one.stamp.version, root=one.root)


def _usable(name: str) -> Kept:
    recipe, locked = recipes.recipes().of(name), lock.read().get(name)
    if not recipe.packages:
        raise EngineError(f"{name} has no files of its own: it is made of {', '.join(recipe.needs)}")
    return cache.usable(name, locked.digest(recipe) if locked else "")


def ensure(names: Iterable[str], progress: Report = silent, *, update: bool = False, thorough: bool = False) -> None:
    """Have these components and all that they need in the cache, as the lock file says; ``all`` means every one.

    :param progress: is told how each one stands; called from several threads.
    :param update: resolve the versions of ``names`` anew (not of what they need) and rewrite the lock file.
    :param thorough: take every checksum of what is there already, and repair it.
    :raises FetchFailed: some could not be had; all others are there.
    """
    own = added.registry().engines
    asked = [
        name for one in names for name in (recipes.recipes().component if one == "all" else [one]) if name not in own
    ]
    todo = [name for name in recipes.recipes().closure(tuple(asked)) if recipes.recipes().of(name).packages]
    wish, renew = Wish(thorough=thorough), Wish(thorough=thorough, update=True)
    stop = threading.Event()
    failures: dict[str, SvmconfError] = {}

    def bring(name: str) -> None:
        try:
            if not stop.is_set():
                Fetch(name, renew if update and name in asked else wish, progress, stop)()
        except Stopped:
            pass
        except SvmconfError as error:
            failures[name] = error
            progress(name, "failed", 0, 0)

    cache.sweep()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        try:
            list(pool.map(bring, todo))
        except BaseException:
            stop.set()
            raise
    if failures:
        raise FetchFailed({name: failures[name] for name in todo if name in failures})
