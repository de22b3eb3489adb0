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
from enum import Enum
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from harness.engines.store import added, cache, lock, programs
from harness.engines.store.apt import FetchError, Stopped
from harness.engines.store.cache import Kept
from harness.engines.store.fetch import Fetch, Report
from harness.engines.store.programs import Runnable
from harness.engines.store.recipes import ENGINES, recipes
from harness.errors import EngineError, SvmconfError

__all__ = [
    "EngineMissing",
    "FetchError",
    "FetchFailed",
    "Installed",
    "Runnable",
    "State",
    "Tree",
    "ensure",
    "installed",
    "known",
    "runnable",
    "tree",
]

_AT_ONCE = 4


class EngineMissing(EngineError):
    """An engine, or a part of one, is not in the cache, or is there but damaged."""


class FetchFailed(EngineError):
    """Some components could not be fetched; ``failures`` has the error of each. All others are there."""

    def __init__(self, failures: dict[str, SvmconfError]) -> None:
        first = next(iter(failures.values()))
        more = f"; and {len(failures) - 1} more: {', '.join(list(failures)[1:])}" if len(failures) > 1 else ""
        super().__init__(first.what + more, first.hint)
        self.failures = failures


class Tree(BaseModel):
    """An unpacked part of an engine: ``version`` is the exact package version, ``root`` the unpacked tree."""

    model_config = ConfigDict(frozen=True)

    name: str
    version: str
    root: Path


class State(Enum):
    """How a component stands in the cache."""

    READY = "ready"
    OLD = "out of date"
    DAMAGED = "damaged"
    MISSING = "not fetched"
    INCOMPLETE = "needs more"


class Installed(BaseModel):
    """A component and how it stands. ``size`` in bytes; ``detail`` says what is wrong, or what is needed."""

    model_config = ConfigDict(frozen=True)

    name: str
    family: str
    state: State
    version: str = ""
    size: int = 0
    root: Path | None = None
    needs: tuple[str, ...] = ()
    added: bool = False
    detail: str = ""


def known() -> tuple[str, ...]:
    """Every engine that can be asked for by name, the added ones too; not the parts of engines."""
    own = (name for name, recipe in recipes().component.items() if recipe.family in ENGINES)
    return (*own, *added.registry().engines)


def runnable(name: str, program: str | None = None) -> Runnable:
    """How to run an engine's program, or another program of its tree (a path below its root).

    :raises EngineMissing: it is not in the cache, or damaged.
    """
    if name in (own := added.registry().engines):
        return own[name].checked()
    recipe = recipes().of(name)
    program = program or recipes().family[recipe.family].program
    if not program:
        raise EngineError(f"{name} is not one program to run: it is made of {', '.join(recipe.needs) or 'files'}")
    one = _usable(name)
    return programs.unpacked(name, recipe.family, one.stamp.version, one.root, program)


def tree(name: str) -> Tree:
    """Where a part of a nested engine (``linux-*``, ``xen-*``, ``busybox``) is.

    :raises EngineMissing: it is not in the cache, or damaged.
    """
    one = _usable(name)
    return Tree(name=name, version=one.stamp.version, root=one.root)


def _usable(name: str) -> Kept:
    """The version of a component that the lock file names, or else the newest one in the cache; whole."""
    recipe, locked = recipes().of(name), lock.read().get(name)
    if not recipe.packages:
        raise EngineError(f"{name} has no files of its own: it is made of {', '.join(recipe.needs)}")
    versions = cache.kept(name)
    digest = locked.digest(recipe) if locked else ""
    for one in sorted(versions, key=lambda v: v.stamp.digest != digest):
        if fault := one.fault():
            raise EngineMissing(f"engine {name} is damaged: {fault}", f"svmconf engines fetch {name} repairs it")
        return one
    raise EngineMissing(f"engine {name} is not fetched", f"svmconf engines fetch {name}")


def installed(thorough: bool = False) -> list[Installed]:
    """Every component of the recipes and every added engine, with its state; ``thorough`` takes all checksums."""
    locked = lock.read()
    states: dict[str, Installed] = {}
    for name in recipes().closure(tuple(recipes().component)):
        recipe = recipes().of(name)
        one = Installed(name=name, family=recipe.family, state=State.READY, needs=recipe.needs)
        if recipe.packages:
            one = _state(one, locked[name].digest(recipe) if name in locked else "", thorough)
        lacking = [need for need in recipe.needs if states[need].state in (State.MISSING, State.DAMAGED)]
        if lacking and one.state is State.READY:
            one = one.model_copy(update={"state": State.INCOMPLETE, "detail": f"needs {', '.join(lacking)}"})
        states[name] = one
    return [states[name] for name in recipes().component] + [
        Installed(**engine.standing(), added=True) for engine in added.registry().engines.values()
    ]


def _state(one: Installed, digest: str, thorough: bool) -> Installed:
    versions = sorted(cache.kept(one.name), key=lambda v: v.stamp.digest != digest)
    if not versions:
        return one.model_copy(update={"state": State.MISSING})
    best = versions[0]
    fault = best.fault(thorough)
    state = State.DAMAGED if fault else State.READY if best.stamp.digest == digest else State.OLD
    return one.model_copy(
        update={
            "state": state,
            "version": best.stamp.version,
            "size": best.stamp.size,
            "root": best.root,
            "detail": fault,
        }
    )


def ensure(
    names: Iterable[str], progress: Report | None = None, *, update: bool = False, thorough: bool = False
) -> None:
    """Have these components and all that they need in the cache, as the lock file says; ``all`` means every one.

    :param progress: is told how each one stands; called from several threads.
    :param update: resolve the versions of ``names`` anew (not of what they need) and rewrite the lock file.
    :param thorough: take every checksum of what is there already, and repair it.
    :raises FetchFailed: some could not be had; all others are there.
    """
    asked = tuple(names)
    asked = (
        tuple(recipes().component) if "all" in asked else tuple(n for n in asked if n not in added.registry().engines)
    )
    stop = threading.Event()
    failures: dict[str, SvmconfError] = {}

    def bring(name: str) -> None:
        try:
            if not stop.is_set():
                Fetch(name, progress or (lambda *_: None), stop)(thorough=thorough, update=update and name in asked)
        except Stopped:
            pass
        except SvmconfError as error:
            failures[name] = error

    todo = [name for name in recipes().closure(asked) if recipes().of(name).packages]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        try:
            list(pool.map(bring, todo))
        except BaseException:
            stop.set()
            raise
    if failures:
        raise FetchFailed(failures)
