"""What a multiboot 1 loader leaves for an image, as plain data: for engines that have no loader of their own.

An image is entered as the Multiboot Specification 0.6.96 says in section 3.2: 32-bit protected mode, flat segments,
paging off, interrupts off, EAX the magic number, EBX the address of the information structure.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from harness.errors import ImageError
from harness.guests.files import Module
from harness.machine.image import Image

MAGIC = 0x2BAD_B002
"""What EAX holds at the entry."""

INFO = 0x9000
"""Physical address of the information structure; the memory map and the command line follow it in the same page."""

MODULES_AT = 0x100_0000
"""Physical address of the first boot module. The image lies below; what comes next starts on a page, too."""

_LOW_END, _HIGH_START = 0x9_FC00, 0x10_0000
_MEMORY, _CMDLINE, _MODULES, _MEMORY_MAP = 1 << 0, 1 << 2, 1 << 3, 1 << 6
_AVAILABLE, _RESERVED = 1, 2
_MAP_ENTRY = struct.Struct("<IQQI")
_MODULE = struct.Struct("<IIII")
_MAP_AT, _MODULES_LIST_AT, _STRINGS_AT, _INFO_SIZE = 0x100, 0x180, 0x200, 0x1000
_PAGE = 0x1000


@dataclass(frozen=True)
class Handoff:
    """Bytes for physical memory, all else zero, and where the processor starts (``eip``, ``eax``, ``ebx``)."""

    regions: tuple[tuple[int, bytes], ...]
    eip: int
    eax: int
    ebx: int


def multiboot1(image: Image, cmdline: str, memory: int, modules: Sequence[Module] = ()) -> Handoff:
    """What a loader makes of ``image`` in a machine of ``memory`` MiB; raise :class:`ImageError` when it cannot."""
    if image.multiboot1 is None:
        raise ImageError(
            f"{image.path} has no multiboot 1 header that says where to load and enter it",
            "this engine boots multiboot 1 only; QEMU takes PVH too",
        )
    loaded, entry_point = image.multiboot1
    end = memory << 20
    info = bytearray(_INFO_SIZE)
    strings = _Strings(info)
    areas = ((0, _LOW_END, _AVAILABLE), (_LOW_END, _HIGH_START, _RESERVED), (_HIGH_START, end, _AVAILABLE))
    memory_map = b"".join(_MAP_ENTRY.pack(20, start, stop - start, kind) for start, stop, kind in areas)
    flags = _MEMORY | _CMDLINE | _MEMORY_MAP | (_MODULES if modules else 0)
    struct.pack_into("<III", info, 0, flags, _LOW_END >> 10, (end - _HIGH_START) >> 10)
    struct.pack_into("<I", info, 16, strings.put(cmdline))
    struct.pack_into("<II", info, 20, len(modules), INFO + _MODULES_LIST_AT if modules else 0)
    struct.pack_into("<II", info, 44, len(memory_map), INFO + _MAP_AT)
    info[_MAP_AT : _MAP_AT + len(memory_map)] = memory_map
    regions = list(loaded)
    at = MODULES_AT
    for number, module in enumerate(modules):
        regions.append((at, module.data))
        entry = at, at + len(module.data), strings.put(module.string), 0
        _MODULE.pack_into(info, _MODULES_LIST_AT + number * _MODULE.size, *entry)
        at += -(-len(module.data) // _PAGE) * _PAGE
    if any(address + len(data) > end for address, data in regions):
        raise ImageError(f"{image.path} does not fit into {memory} MiB")
    return Handoff((*regions, (INFO, bytes(info))), entry_point, MAGIC, INFO)


class _Strings:
    """Texts one after the other in the page of the information structure."""

    def __init__(self, page: bytearray) -> None:
        self._page = page
        self._at = _STRINGS_AT

    def put(self, text: str) -> int:
        """Its physical address."""
        data, at = text.encode() + b"\0", self._at
        if at + len(data) > len(self._page):
            raise ImageError(f"the command line is too long: {len(data)} bytes")
        self._page[at : at + len(data)] = data
        self._at += len(data)
        return INFO + at
