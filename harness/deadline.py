"""A deadline that is handed down: nothing in the harness waits without one."""

from __future__ import annotations

import time
from dataclasses import dataclass

from harness.errors import DeadlineExceeded


@dataclass(frozen=True)
class Deadline:
    """A point in monotonic time, in seconds."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """The deadline that many seconds from now."""
        return cls(time.monotonic() + seconds)

    @property
    def left(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.at - time.monotonic())

    @property
    def passed(self) -> bool:
        """Whether it is over."""
        return self.left == 0.0

    def sooner(self, seconds: float) -> Deadline:
        """This deadline or the one ``seconds`` from now, whichever comes first."""
        return min(self, Deadline.after(seconds), key=lambda d: d.at)

    def check(self, what: str) -> None:
        """Raise :class:`DeadlineExceeded`, naming ``what``, when it is over."""
        if self.passed:
            raise DeadlineExceeded(f"{what}: the deadline passed")
