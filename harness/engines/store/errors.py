"""What can go wrong with fetched engines."""

from __future__ import annotations

from pathlib import Path

from harness.errors import EngineError, SvmconfError

DO_WITHOUT = "svmconf engines add NAME --binary PATH takes any QEMU or Bochs that you have"


class EngineMissing(EngineError):
    """An engine, or a part of one, is not in the cache, or is there but damaged."""


class FetchError(EngineError):
    """A component could not be fetched."""


class NoRoom(FetchError):
    """The disk is full."""

    def __init__(self, place: Path) -> None:
        super().__init__(
            f"no room left in {place}",
            "make room, or move the cache with SVMCONF_CACHE=DIR; the same command goes on where this one was",
        )


class Stopped(FetchError):
    """Somebody asked to stop."""


class FetchFailed(EngineError):
    """Some components could not be fetched; ``failures`` has the error of each by name. All others are there."""

    def __init__(self, failures: dict[str, SvmconfError]) -> None:
        name, first = next(iter(failures.items()))
        more = f"; nor could {', '.join(list(failures)[1:])} be fetched" if len(failures) > 1 else ""
        super().__init__(f"{name}: {first.what}{more}", first.hint)
        self.failures = failures
