"""How every component stands: what ``svmconf engines list`` shows."""

from __future__ import annotations

from enum import Enum
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from harness.engines.store import added, cache, lock
from harness.engines.store.lock import Locked
from harness.engines.store.recipes import Recipe, recipes


class State(Enum):
    """How a component stands in the cache."""

    READY = "ready"
    OLD = "out of date"
    DAMAGED = "damaged"
    MISSING = "not fetched"
    LACKING = "needs more"

    @property
    def usable(self) -> bool:
        """Whether it can be used as it is."""
        return self in (State.READY, State.OLD)


class Installed(BaseModel):
    """A component and how it stands.

    ``size`` in bytes; ``detail`` says what is wrong, or what it needs; ``instead`` which packages stand in for those of
    the lock file that the mirror has no more.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    family: str
    state: State
    version: str = ""
    size: int = 0
    root: Path | None = None
    detail: str = ""
    instead: tuple[str, ...] = ()


def installed(thorough: bool = False) -> list[Installed]:
    """Every component of the recipes and every added engine, with its state; ``thorough`` takes all checksums."""
    states: dict[str, Installed] = {}
    for name in recipes().closure(tuple(recipes().component)):  # what is needed comes first
        recipe = recipes().of(name)
        lacking = [need for need in recipe.needs if not states[need].state.usable]
        one = _own(name, recipe, thorough)
        if lacking and one.state.usable:
            one = one.model_copy(update={"state": State.LACKING, "detail": f"lacks {', '.join(lacking)}"})
        elif recipe.needs and not one.detail:
            one = one.model_copy(update={"detail": f"with {', '.join(recipe.needs)}"})
        states[name] = one
    return [states[name] for name in recipes().component] + [_added(one) for one in added.registry().engines.values()]


def _own(name: str, recipe: Recipe, thorough: bool) -> Installed:
    """How its own files stand, whatever it needs."""
    one = Installed(name=name, family=recipe.family, state=State.READY)
    if not recipe.packages:
        return one
    locked = lock.read().get(name)
    digest = locked.digest(recipe) if locked else ""
    versions = sorted(cache.kept(name), key=lambda version: version.stamp.digest != digest)
    if not versions:
        return one.model_copy(update={"state": State.MISSING})
    best = versions[0]
    known = one.model_copy(update={"version": best.stamp.version, "size": best.stamp.size, "root": best.root})
    if fault := best.fault(thorough):
        return known.model_copy(update={"state": State.DAMAGED, "detail": fault})
    if best.stamp.digest != digest:
        return known.model_copy(update={"state": State.OLD, "detail": _now(locked, best.stamp.version)})
    return known.model_copy(update={"instead": best.stamp.instead})


def _now(locked: Locked | None, here: str) -> str:
    """What the lock file names instead of the version that is here."""
    if locked is None:
        return "not in the lock file"
    return "the lock file names other packages" if locked.version in here else f"the lock file names {locked.version}"


def _added(one: added.Added) -> Installed:
    gone = not one.binary.is_file()
    return Installed(
        name=one.runnable.name,
        family=one.runnable.family,
        state=State.MISSING if gone else State.READY,
        version=one.runnable.version,
        root=one.runnable.root,
        detail="your own" + (": its program is gone" if gone else ""),
    )
