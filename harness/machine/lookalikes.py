"""Bytes that look like an instruction and are part of another one, a displacement say.

A breakpoint that changes nothing may stand there. One that is written into memory would change what that other
instruction does.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

import capstone

from harness.machine.image import Image

_FAR = 1 << 14
"""Bytes: where no symbol is nearer, disassembling begins so far before the place. x86 code soon falls into step."""


def lookalikes(image: Image, places: Iterable[int]) -> set[int]:
    """Which of these linear addresses lie inside an instruction, whether the code is 64-bit or 32-bit code.

    What is an instruction's start in one of the two is none: an image has code of both.
    """
    symbols = sorted(image.symbols)
    found: set[int] = set()
    for place in places:
        start, code = _before(image, symbols, place)
        if code and all(_inside(mode, code, start, place) for mode in (capstone.CS_MODE_64, capstone.CS_MODE_32)):
            found.add(place)
    return found


def _before(image: Image, symbols: list[int], place: int) -> tuple[int, bytes]:
    """Where to begin, and the bytes from there to behind the place."""
    for segment in image.segments:
        for base in segment.addresses:
            if base <= place < base + len(segment.data):
                at = bisect_right(symbols, place)
                start = max(base, place - _FAR, symbols[at - 1] if at else 0)
                return start, segment.data[start - base : place - base + 16]
    return place, b""


def _inside(mode: int, code: bytes, start: int, place: int) -> bool:
    disassembler = capstone.Cs(capstone.CS_ARCH_X86, mode)  # type: ignore[no-untyped-call]
    disassembler.skipdata = True
    for address, size, _, _ in disassembler.disasm_lite(code, start):  # type: ignore[no-untyped-call]
        if address + size > place:
            return bool(address < place)
    return False
