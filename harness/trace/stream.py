"""The plugin's events, read from its pipe: the other side of ``struct event`` in ``plugin/vmruns.c``."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import BinaryIO

from harness.errors import ProtocolError

_HEAD = struct.Struct("<BBHIQQQ4Q")
_WORD = struct.Struct("<HQ")
_NAMES = ("rax", "rbx", "rcx", "rdx")
_PAGE, _ONE_WORD = 0x1000, struct.Struct("<Q")


class Kind(IntEnum):
    """What an event tells."""

    VMRUN = 1
    VMEXIT = 2
    END = 3


class _Flag(IntFlag):
    REGISTERS = 1
    VMCB = 2
    WHOLE = 4


@dataclass(frozen=True)
class Event:
    """Just before an instruction: a VMRUN, or the one behind it, which a #VMEXIT leads to; or the end of all.

    ``seconds`` are of a clock that starts anywhere; ``instructions`` are those that this processor began before.
    ``behind`` is the linear address behind the VMRUN. ``registers`` (rax, rbx, rcx, rdx) are empty where the engine
    does not show them. ``vmcb`` are the bytes at rAX: the host's rAX holds the VMCB's address also after #VMEXIT.
    """

    kind: Kind
    cpu: int
    seconds: float
    instructions: int
    behind: int
    registers: dict[str, int]
    vmcb: bytes | None


def events(stream: BinaryIO) -> Iterator[Event]:
    """The events until the pipe's end; one that was cut short there is dropped.

    Raises :class:`ProtocolError` for what is none.
    """
    pages: dict[int, bytearray] = {}
    while len(head := stream.read(_HEAD.size)) == _HEAD.size:
        kind, cpu, flags, words, nanoseconds, instructions, behind, *registers = _HEAD.unpack(head)
        if kind not in tuple(Kind) or words > _PAGE // 8:
            raise ProtocolError(f"the TCG plugin says {head.hex()}, which means nothing")
        data = stream.read(words * _WORD.size)
        if len(data) < words * _WORD.size:
            return
        vmcb = None
        if flags & _Flag.VMCB:
            if flags & _Flag.WHOLE:
                pages[registers[0]] = bytearray(_PAGE)
            page = pages[registers[0]]
            for number, value in _WORD.iter_unpack(data):
                _ONE_WORD.pack_into(page, 8 * number, value)
            vmcb = bytes(page)
        known = dict(zip(_NAMES, registers, strict=True)) if flags & _Flag.REGISTERS else {}
        yield Event(Kind(kind), cpu, nanoseconds / 1e9, instructions, behind, known, vmcb)
