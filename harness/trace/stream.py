"""The plugin's events, read from its pipe: the other side of ``struct event`` in ``plugin/vmruns.c``."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import BinaryIO

from harness.errors import ProtocolError

_HEAD = struct.Struct("<BBHIQQQ6Q")
_WORD = struct.Struct("<HQ")
_NAMES = ("rax", "rbx", "rcx", "rdx", "efer", "cs")
_PAGE, _ONE_WORD = 0x1000, struct.Struct("<Q")


class Kind(IntEnum):
    """What an event tells."""

    VMRUN = 1
    VMEXIT = 2
    END = 3


_KINDS = {int(kind): kind for kind in Kind}
_HAS_REGISTERS, _HAS_VMCB, _WHOLE, _TOGETHER = 1, 2, 4, 8


@dataclass(slots=True)
class Event:
    """Just before an instruction: a VMRUN, or the one behind it, which a #VMEXIT leads to; or the end of all.

    ``seconds`` are of a clock that starts anywhere. ``instructions`` are those that this processor began before; with
    ``together``, those of all processors. ``behind`` is the linear address behind the VMRUN. ``registers`` (rax, rbx,
    rcx, rdx, efer, cs) are empty where the engine does not show them. ``vmcb`` are the bytes at rAX: the host's holds
    the VMCB's address also after #VMEXIT.
    """

    kind: Kind
    cpu: int
    seconds: float
    instructions: int
    behind: int
    registers: dict[str, int]
    vmcb: bytes | None
    together: bool = False


def events(stream: BinaryIO) -> Iterator[Event]:
    """The events until the pipe's end; one that was cut short there is dropped.

    Raises :class:`ProtocolError` for what is none.
    """
    pages: dict[int, bytearray] = {}
    read, unpack = stream.read, _HEAD.unpack
    while len(head := read(_HEAD.size)) == _HEAD.size:
        kind, cpu, flags, words, nanoseconds, instructions, behind, *registers = unpack(head)
        if kind not in _KINDS or words > _PAGE // 8:
            raise ProtocolError(f"the TCG plugin says {head.hex()}, which means nothing")
        data = read(words * _WORD.size)
        if len(data) < words * _WORD.size:
            return
        vmcb = None
        if flags & _HAS_VMCB:
            if flags & _WHOLE:
                pages[registers[0]] = bytearray(_PAGE)
            page = pages[registers[0]]
            for number, value in _WORD.iter_unpack(data):
                _ONE_WORD.pack_into(page, 8 * number, value)
            vmcb = bytes(page)
        known = dict(zip(_NAMES, registers, strict=True)) if flags & _HAS_REGISTERS else {}
        yield Event(_KINDS[kind], cpu, nanoseconds / 1e9, instructions, behind, known, vmcb, bool(flags & _TOGETHER))
