"""The I/O permission map: which ports it intercepts (15.10.1)."""

from __future__ import annotations

SIZE = 0x3000
"""Bytes: a bit a port. Of those behind FFFFh the first three are for accesses that begin below and end there."""

_PORTS = 0x1_0000
_BEYOND = 3


def intercepts_all(iopm: bytes) -> bool:
    """Whether every IN and OUT exits.

    >>> closed = bytes([0xFF]) * SIZE
    >>> intercepts_all(closed), intercepts_all(b"\\xFE" + closed[1:])
    (True, False)
    """
    bits = int.from_bytes(iopm[: _PORTS // 8 + 1], "little")
    wanted = (1 << _PORTS + _BEYOND) - 1
    return bits & wanted == wanted
