"""The ROM that a machine of ours starts from: ``rom.asm``, and what it shall put where.

No BIOS: none to be crashed by, none to wait for, and nothing that leaves traces in memory.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from harness.errors import BuildError, ImageError, ToolMissing
from harness.machine.bochs.ram_image import RamImage
from harness.machine.handoff import Handoff

_SOURCE = Path(__file__).parent / "rom.asm"
_SEGMENT, _ORDERS, _ASK = 0x1_0000, 0x8000, 0xFFE8
_END = 1 << 32
_SMALLEST = 512 << 10
"""Smaller ones Bochs takes for flash chips."""


@dataclass(frozen=True)
class Preset:
    """An MSR that firmware writes before the image starts."""

    msr: int
    value: int


def rom(handoff: Handoff, presets: Sequence[Preset] = (), largest: int = 2 << 20, ram: RamImage | None = None) -> bytes:
    """A ROM that writes ``presets``, puts the hand-off's regions in place and enters the image.

    ``ram`` is what is in memory already. ``largest`` is the most bytes that the engine has room for. Raises
    :class:`ImageError` when that is not enough, :class:`ToolMissing` without NASM.
    """
    parts = [data + bytes(-len(data) % 4) for _, data in handoff.regions]
    size = _SMALLEST
    while size < sum(map(len, parts)) + _SEGMENT:
        size *= 2
    if size > largest:
        needed = sum(map(len, parts)) >> 10
        raise ImageError(
            f"the image is too large for this engine: {needed} KiB, and a ROM has {(largest - _SEGMENT) >> 10} KiB",
            "Bochs 3.0 has room for 4 MiB, QEMU for any",
        )
    touch = (ram.address, ram.end) if ram else (0, 0)
    orders = struct.pack("<7I", handoff.eip, handoff.eax, handoff.ebx, *touch, len(presets), len(parts))
    for preset in presets:
        orders += struct.pack("<IQ", preset.msr, preset.value)
    at = _END - size
    for (address, _), data in zip(handoff.regions, parts, strict=True):
        orders += struct.pack("<III", at, address, len(data) // 4)
        at += len(data)
    content = b"".join(parts)
    code = firmware()
    if _ORDERS + len(orders) > _ASK:
        raise ImageError(f"the image has too many parts: {len(parts)}")
    segment = code[:_ORDERS] + orders + code[_ORDERS + len(orders) :]
    return content + bytes(size - len(content) - _SEGMENT) + segment


def bare() -> bytes:
    """A ROM for a machine whose processor is to be asked only."""
    return bytes(_SMALLEST - _SEGMENT) + firmware()


def ask_at() -> int:
    """The offset, in the segment of the reset vector, of a CPUID instruction."""
    return int.from_bytes(firmware()[_ASK : _ASK + 8], "little")


@cache
def firmware() -> bytes:
    """``rom.asm``, assembled."""
    nasm = shutil.which("nasm")
    if nasm is None:
        raise ToolMissing("nasm is missing: it assembles the firmware of our Bochs machines", "apt-get install nasm")
    with tempfile.TemporaryDirectory(prefix="svmconf-") as folder:
        target = Path(folder) / "rom"
        command = [nasm, "-w+all", "-w+error", "-fbin", "-o", str(target), str(_SOURCE)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        if done.returncode:
            raise BuildError(f"nasm refuses {_SOURCE.name}: {done.stderr.strip()}")
        return target.read_bytes()


def video_rom() -> bytes:
    """A video BIOS that does nothing: Bochs does not start without one."""
    code = b"\x55\xaa\x01\xcb" + bytes(507)  # signature, 1 x 512 bytes, RETF
    return code + bytes([-sum(code) & 0xFF])
