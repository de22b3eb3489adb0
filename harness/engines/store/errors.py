"""What can go wrong with fetched engines."""

from __future__ import annotations

from harness.errors import EngineError, SvmconfError

MAKE_ROOM = "make room, or move the cache with SVMCONF_CACHE; what is downloaded is kept"
DO_WITHOUT = "svmconf engines add NAME --binary PATH takes any QEMU or Bochs that you have"


class EngineMissing(EngineError):
    """An engine, or a part of one, is not in the cache, or is there but damaged."""


class FetchError(EngineError):
    """A component could not be fetched."""


class Stopped(FetchError):
    """Somebody asked to stop."""


class FetchFailed(EngineError):
    """Some components could not be fetched; ``failures`` has the error of each. All others are there."""

    def __init__(self, failures: dict[str, SvmconfError]) -> None:
        first = next(iter(failures.values()))
        more = f"; nor {', '.join(list(failures)[1:])}" if len(failures) > 1 else ""
        super().__init__(first.what + more, first.hint)
        self.failures = failures
