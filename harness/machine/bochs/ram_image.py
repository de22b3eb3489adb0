"""What is too large for a ROM of Bochs' goes into RAM before the machine starts, as a file that Bochs reads.

Bochs gives memory out in blocks, in the order of their first use, and reads the whole file as if the blocks that follow
the first came next. So the ROM touches them in that order before anything else uses memory (``rom.asm``).

Bochs 3.1, and the 3.0.devel before it, reads it page by page, and each page to address 0: ``load_RAM()`` masks the
address with ``A20ADDR()``, whose mask is 0 until ``bx_pc_system.Reset()`` sets it, which ``bx_init_hardware()`` calls
later. So from 3.0 on the file's bytes are written into Bochs' own memory while it stands before the first instruction:
where it says that the machine's is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from harness.machine.handoff import Handoff

_LARGE = 1 << 20
"""Bytes. Every start that is a multiple of it begins a block, too."""


@dataclass(frozen=True)
class RamImage:
    """Bytes for RAM from ``address`` on, which begins a block."""

    address: int
    content: bytes

    @property
    def end(self) -> int:
        """The address behind it."""
        return self.address + len(self.content)


def split(handoff: Handoff) -> tuple[Handoff, RamImage | None]:
    """What a ROM has room for, and the rest: all large regions with what lies between them."""
    large = [(address, data) for address, data in handoff.regions if len(data) > _LARGE]
    if not large:
        return handoff, None
    start = min(address for address, _ in large) // _LARGE * _LARGE
    content = bytearray(max(address + len(data) for address, data in large) - start)
    for address, data in large:
        content[address - start : address - start + len(data)] = data
    small = tuple(region for region in handoff.regions if region not in large)
    return replace(handoff, regions=small), RamImage(start, bytes(content))
