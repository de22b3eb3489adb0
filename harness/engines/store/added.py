"""Engines of the user's own: any QEMU or Bochs, registered by name."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from harness.engines.store import cache
from harness.engines.store.programs import Runnable


class Added(BaseModel):
    """One of the user's own engines."""

    model_config = ConfigDict(frozen=True)

    runnable: Runnable

    def checked(self) -> Runnable:
        """How to run it."""
        return self.runnable

    def standing(self) -> dict[str, Any]:
        """How it stands."""
        return {}


class Registry(BaseModel):
    """All that are registered, by name."""

    model_config = ConfigDict(frozen=True)

    engines: dict[str, Added] = Field(default_factory=dict)


def registry() -> Registry:
    """Those of this cache."""
    path = cache.folder() / "added.json"
    return Registry.model_validate_json(path.read_bytes()) if path.is_file() else Registry()
