"""How a machine ended: one of a few named ways, with what is known about it."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class How(StrEnum):
    """The ways a machine can end."""

    EXITED = "exited"
    REFUSED = "refused"
    TRIPLE_FAULT = "triple fault"
    SHUTDOWN = "shutdown"
    RESET = "reset"
    HALTED = "halted"
    HUNG = "hung"
    ENGINE_CRASHED = "engine crashed"
    HARNESS_ERROR = "harness error"


class Ending(BaseModel):
    """How a machine ended.

    ``code`` is what the software wrote to the exit port (7 bits), if it did. ``detail`` is one line for people.
    ``rips`` are instruction addresses sampled when it did not end by itself.
    """

    model_config = ConfigDict(frozen=True)

    how: How
    code: int | None = None
    detail: str = ""
    rips: tuple[int, ...] = ()

    def __str__(self) -> str:
        code = f"({self.code:#x})" if self.code is not None else ""
        rips = " at " + ", ".join(f"{rip:#x}" for rip in dict.fromkeys(self.rips)) if self.rips else ""
        detail = f": {self.detail}" if self.detail else ""
        return f"{self.how}{code}{rips}{detail}"

    @property
    def engine_at_fault(self) -> bool:
        """Whether the engine or the harness broke, so that nothing can be said about the software."""
        return self.how in (How.ENGINE_CRASHED, How.HARNESS_ERROR)
