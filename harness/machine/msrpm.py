"""The MSR permission map: which RDMSR and WRMSR it intercepts (15.11, SVM-15.11-002, -003, -004)."""

from __future__ import annotations

SIZE = 0x2000
"""Bytes: two bits an MSR, the lower for RDMSR, the upper for WRMSR."""

_RANGES = ((0x0000_0000, 0x000), (0xC000_0000, 0x800), (0xC001_0000, 0x1000))
"""The first MSR of each range of 2000h, and the byte where it begins."""


def bit(msr: int, *, write: bool) -> int | None:
    """The number of the bit that decides about an access, ``None`` for an MSR that the map does not cover.

    >>> bit(0xC000_0080, write=True)
    16641
    """
    for first, begin in _RANGES:
        if first <= msr < first + 0x2000:
            return 8 * begin + 2 * (msr - first) + write
    return None


def intercepts(msrpm: bytes, msr: int, *, write: bool) -> bool:
    """Whether an access exits; one to an MSR that the map does not cover always does.

    >>> opened = bytes(SIZE)
    >>> intercepts(opened, 0x277, write=True), intercepts(opened, 0xC000_2000, write=False)
    (False, True)
    """
    at = bit(msr, write=write)
    return True if at is None else bool(msrpm[at // 8] >> at % 8 & 1)
