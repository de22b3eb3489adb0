"""What a multiboot 1 loader leaves for an image, as plain data: for engines that have no loader of their own.

An image is entered as the Multiboot Specification 0.6.96 says in section 3.2: 32-bit protected mode, flat segments,
paging off, interrupts off, EAX the magic number, EBX the address of the information structure.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from harness.errors import ImageError
from harness.machine.image import Image

MAGIC = 0x2BAD_B002
"""What EAX holds at the entry."""

INFO = 0x9000
"""Physical address of the information structure; the memory map and the command line follow it in the same page."""

_LOW_END, _HIGH_START = 0x9_FC00, 0x10_0000
_MEMORY, _CMDLINE, _MEMORY_MAP = 1 << 0, 1 << 2, 1 << 6
_AVAILABLE, _RESERVED = 1, 2
_MAP_ENTRY = struct.Struct("<IQQI")
_INFO_SIZE, _MAP_AT, _CMDLINE_AT = 88, 0x100, 0x200


@dataclass(frozen=True)
class Handoff:
    """Bytes for physical memory, all else zero, and where the processor starts (``eip``, ``eax``, ``ebx``)."""

    regions: tuple[tuple[int, bytes], ...]
    eip: int
    eax: int
    ebx: int


def multiboot1(image: Image, cmdline: str, memory: int) -> Handoff:
    """What a loader makes of ``image`` in a machine of ``memory`` MiB; raise :class:`ImageError` when it cannot."""
    if image.multiboot1 is None:
        raise ImageError(
            f"{image.path} has no multiboot 1 header that says where to load and enter it",
            "this engine boots multiboot 1 only; QEMU takes PVH too",
        )
    loaded, entry = image.multiboot1
    words = cmdline.encode() + b"\0"
    if len(words) > 0x1000 - _CMDLINE_AT:
        raise ImageError(f"the command line is too long: {len(words)} bytes")
    end = memory << 20
    areas = ((0, _LOW_END, _AVAILABLE), (_LOW_END, _HIGH_START, _RESERVED), (_HIGH_START, end, _AVAILABLE))
    memory_map = b"".join(_MAP_ENTRY.pack(20, start, stop - start, kind) for start, stop, kind in areas)
    info = bytearray(0x1000)
    struct.pack_into("<III", info, 0, _MEMORY | _CMDLINE | _MEMORY_MAP, _LOW_END >> 10, (end - _HIGH_START) >> 10)
    struct.pack_into("<I", info, 16, INFO + _CMDLINE_AT)
    struct.pack_into("<II", info, 44, len(memory_map), INFO + _MAP_AT)
    info[_MAP_AT : _MAP_AT + len(memory_map)] = memory_map
    info[_CMDLINE_AT : _CMDLINE_AT + len(words)] = words
    if any(address + len(data) > end for address, data in loaded):
        raise ImageError(f"{image.path} does not fit into {memory} MiB")
    return Handoff((*loaded, (INFO, bytes(info))), entry, MAGIC, INFO)
