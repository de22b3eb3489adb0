"""A TCG plugin for a machine: the library that QEMU loads, and where its events go."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_BELOW_4G, _MOST_BELOW_4G = 3 << 30, 7 << 29
"""Of how much RAM addresses are offsets in its file, on the machine ``pc``: all of up to 3.5 GiB, else 3 GiB."""


@dataclass(frozen=True)
class Plugin:
    """``library`` was built for this QEMU (:mod:`harness.trace.library`); events go to the descriptor ``out``."""

    library: Path
    out: int

    def words(self, ram: str, size: int) -> tuple[str, ...]:
        """For a command line; ``ram`` is the path of the file behind the machine's RAM of ``size`` bytes."""
        mapped = size if size <= _MOST_BELOW_4G else _BELOW_4G
        place = str(self.library).replace(",", ",,")
        return "-plugin", f"file={place},out=/proc/self/fd/{self.out},ram={ram},size={mapped}"
