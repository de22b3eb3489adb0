"""What each engine is made of: ``recipes.toml``."""

from __future__ import annotations

import difflib
import tomllib
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from harness.errors import SvmconfError

RECIPES = Path(__file__).parent / "recipes.toml"
ENGINES = ("qemu", "bochs", "kvm", "xen")
"""The families whose components are engines; the others are parts of engines."""


class Family(BaseModel):
    """What all components of a family have in common (see the head of ``recipes.toml``)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    program: str = ""
    only: tuple[str, ...] = ("*",)
    keep: tuple[str, ...] = ()


class Recipe(BaseModel):
    """What a component is made of. One without packages has nothing of its own to fetch, only needs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: str
    suites: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()

    @property
    def kept(self) -> tuple[str, ...]:
        """What is kept of its packages: its own word, or else its family's."""
        return self.keep or recipes().family[self.family].keep

    @property
    def suite(self) -> str:
        """The suite that it is named for: the last one."""
        return self.suites[-1] if self.suites else ""


class Recipes(BaseModel):
    """All of ``recipes.toml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: dict[str, Family]
    component: dict[str, Recipe]

    def of(self, name: str) -> Recipe:
        """A component's recipe; raise :class:`SvmconfError` with names that are near."""
        if name in self.component:
            return self.component[name]
        near = difflib.get_close_matches(name, self.component, 3, 0.5) or list(self.component)
        raise SvmconfError(f"no engine {name!r} to fetch", f"one of: {', '.join(near)}")

    def closure(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """These components and all that they need, each once, what is needed first."""
        found: dict[str, None] = {}
        for name in names:
            for one in (*self.closure(self.of(name).needs), name):
                found.setdefault(one)
        return tuple(found)


@cache
def recipes() -> Recipes:
    """The recipes."""
    return Recipes.model_validate(tomllib.loads(RECIPES.read_text()))
