"""One of several parts of a run, so that several machines split it: ``--shard 2/4``.

A case belongs to a part by a hash of its id alone, so that every machine finds the same split whatever else it was
told (``-k``, the order of collection, how many workers).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from harness.errors import SvmconfError

_WRITTEN = re.compile(r"(\d+)/(\d+)")


@dataclass(frozen=True)
class Shard:
    """Part ``index`` of ``count``; the first is 1."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read ``2/4``; raise :class:`SvmconfError` when it is no such thing."""
        match = _WRITTEN.fullmatch(text.strip())
        shard = cls(int(match[1]), int(match[2])) if match else cls(0, 0)
        if not 1 <= shard.index <= shard.count:
            raise SvmconfError(f"no shard {text!r}", "i/n with i from 1 to n: --shard 2/4 is the second of four")
        return shard

    @classmethod
    def of(cls, case: str, count: int) -> Shard:
        """The one of ``count`` that a case belongs to."""
        return cls(int.from_bytes(hashlib.sha256(case.encode()).digest()[:8], "big") % count + 1, count)

    def holds(self, case: str) -> bool:
        """Whether a case, by its id, belongs to it."""
        return Shard.of(case, self.count) == self

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"
