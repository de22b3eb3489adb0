"""How a boot loader leaves a Linux that is to run on its own: for engines that have no loader.

The kernel is entered by the 32-bit boot protocol: its protected-mode part at 1 MiB, ESI the address of the boot
parameters, flat segments, paging off, interrupts off. Nothing else is there: no firmware, no ACPI tables.
Source: Documentation/arch/x86/boot.rst and zero-page.rst of Linux.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from harness.errors import ImageError
from harness.guests.files import Module
from harness.machine.handoff import MODULES_AT, Handoff

_KERNEL, _PARAMETERS, _CMDLINE, _STUB = 0x10_0000, 0x1_0000, 0x1_1000, 0x1_2000
_INITRAMFS_ALIGNMENT = 1 << 20
_HEADER, _MAGIC, _LOADER, _MAP_COUNT, _MAP = 0x1F1, 0x202, 0x210, 0x1E8, 0x2D0
_RAMDISK, _CMDLINE_POINTER, _INIT_SIZE = 0x218, 0x228, 0x260
_UNKNOWN_LOADER = 0xFF
_LOW_END, _RAM = 0x9_FC00, 1
_AREA = struct.Struct("<QQI")


def bare(modules: Sequence[Module], memory: int) -> Handoff:
    """A machine of ``memory`` MiB with the Linux that these modules are; raise :class:`ImageError` if it cannot be."""
    kernel, initramfs = modules
    image = kernel.data
    if image[_MAGIC : _MAGIC + 4] != b"HdrS":
        raise ImageError("the kernel is no bzImage: it has no setup header")
    setup = (image[_HEADER] or 4) + 1
    parameters = bytearray(0x1000)
    header_end = _MAGIC + image[_MAGIC - 1]
    parameters[_HEADER:header_end] = image[_HEADER:header_end]
    (size,) = struct.unpack_from("<I", image, _INIT_SIZE)
    end = memory << 20
    at = (
        -(-(MODULES_AT + size) // _INITRAMFS_ALIGNMENT) * _INITRAMFS_ALIGNMENT
    )  # behind where the kernel unpacks itself
    if at + len(initramfs.data) > end:
        raise ImageError(f"a Linux of {size >> 20} MiB and its initramfs do not fit into {memory} MiB")
    parameters[_LOADER] = _UNKNOWN_LOADER
    struct.pack_into("<II", parameters, _RAMDISK, at, len(initramfs.data))
    struct.pack_into("<I", parameters, _CMDLINE_POINTER, _CMDLINE)
    areas = ((0, _LOW_END), (_KERNEL, end - _KERNEL))
    parameters[_MAP_COUNT] = len(areas)
    for number, (start, length) in enumerate(areas):
        _AREA.pack_into(parameters, _MAP + number * _AREA.size, start, length, _RAM)
    words = kernel.string.partition(" ")[2].encode() + b"\0"
    regions = (
        (_KERNEL, image[setup * 512 :]),
        (at, initramfs.data),
        (_PARAMETERS, bytes(parameters)),
        (_CMDLINE, words),
        (_STUB, _jump(_KERNEL)),
    )
    return Handoff(regions, _STUB, 0, 0)


def _jump(entry: int) -> bytes:
    """``mov esi, parameters; jmp entry``: a hand-off sets no other register than EAX and EBX."""
    load = b"\xbe" + struct.pack("<I", _PARAMETERS)
    return load + b"\xe9" + struct.pack("<i", entry - (_STUB + len(load) + 5))
