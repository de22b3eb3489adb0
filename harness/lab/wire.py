"""Programs and results as the probe reads and writes them: docs/protocol.md, "The probe". Nothing else knows bytes.

All numbers are little-endian; every record has a multiple of 8 bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from harness.errors import ProtocolError
from harness.lab.program import MOST_CODE, REGISTERS, Program, Step, StepMode
from harness.lab.seen import StepSeen

VERSION = 2

_BLOB = struct.Struct("<4sHHIIIIIIII")
_REGION = struct.Struct("<QIIII")
_PROGRAM = struct.Struct("<IHHHHI")
_WATCH = struct.Struct("<QII")
_STEP = struct.Struct("<IBBHII")
_RESULTS = struct.Struct("<4sIIIIIIIII")
_RESULT = struct.Struct("<IIHHI")
_ENDED = struct.Struct("<IIIHHIIQQQ")
_CHANGE = struct.Struct("<IIQ")
_QWORD = struct.Struct("<Q")

RESULTS_HEAD = _RESULTS.size

MOST = 8 << 20
"""Bytes of programs in one boot."""

_SPREAD = 1 << 0
_THOROUGH = 1 << 0
_XMM, _LOOK, _STATE, _RFLAGS, _TIME = (1 << n for n in range(16, 21))
_XMM_SEEN, _STATE_SEEN, _TIME_SEEN = (1 << n for n in range(3))
_NO_FAULT = 0xFFFF_FFFF
_MODES = {mode: number for number, mode in enumerate(StepMode)}
_NUMBERS = {name: number for number, name in enumerate(REGISTERS)}
_U64 = (1 << 64) - 1
_FULL = 1 << 0


def step(it: Step) -> bytes:
    """The record of one step."""
    flags = (it.xmm is not None) * _XMM | it.look * _LOOK | it.state * _STATE | it.time * _TIME
    return _step(it.code, it.mode, it.cpl, tuple(it.registers.items()), it.rflags, it.xmm, flags)


@lru_cache(maxsize=1 << 14)  # the same steps come again and again, above all in a batch
def _step(
    code: bytes,
    mode: StepMode,
    cpl: int,
    registers: tuple[tuple[str, int], ...],
    rflags: int | None,
    xmm: tuple[int, ...] | None,
    flags: int,
) -> bytes:
    body = b""
    if rflags is not None:
        flags |= _RFLAGS
        body += _QWORD.pack(rflags)
    for number, value in sorted((_NUMBERS[name], value) for name, value in registers):
        flags |= 1 << number
        body += _QWORD.pack(value & _U64)
    for wide in xmm or ():
        body += wide.to_bytes(16, "little")
    body += _padded(code)
    return _STEP.pack(_STEP.size + len(body), _MODES[mode], cpl, len(code), flags, 0) + body


class Batch:
    """Programs for one boot, encoded as they are added; ``shared`` regions are loaded before each of them.

    What several regions hold is there once. Its layout: header, shared regions, what regions hold, programs.
    """

    def __init__(self, shared: Mapping[int, bytes] | None = None, room: int = MOST) -> None:
        self.programs: list[Program] = []
        self.shared = dict(shared or {})
        self._room = room
        self._at = _BLOB.size + _REGION.size * len(self.shared)
        self._data: list[bytes] = []
        self._places: dict[bytes, int] = {}
        self._records: list[bytes] = []
        self._size = 0
        self._tables = self._placed(self.shared)

    def add(self, program: Program) -> bool:
        """Add a program; false when there is no more room, but for a first one."""
        most = sum(map(len, program.regions.values())) + len(program.watches) * _WATCH.size
        if self.programs and self._at + self._size + most + 4 * MOST_CODE > self._room:
            return False
        own = self._placed(program.regions)
        watches = [_WATCH.pack(address, size, 0) for address, size in program.watches.items()]
        steps = _steps(program.steps)
        size = _PROGRAM.size + _REGION.size * len(own) + _WATCH.size * len(watches) + len(steps)
        counts = len(own), len(watches), len(program.steps)
        head = _PROGRAM.pack(size, *counts, _THOROUGH if program.thorough else 0, len(self.programs))
        self._records += (head, *own, *watches, steps)
        self._size += size
        self.programs.append(program)
        return True

    def encoded(self, first: int = 0, spread: bool = False) -> bytes:
        """The probe's program section, to be run from number ``first`` on.

        ``spread`` lets step code lie in several pages, which is faster; then nobody can stop at the one address where
        every step begins.
        """
        numbers = len(self.programs), first, len(self.shared), _BLOB.size, self._at
        head = _BLOB.pack(b"SVMP", VERSION, spread * _SPREAD, self._at + self._size, *numbers, 0, 0)
        return b"".join((head, *self._tables, *self._data, *self._records))

    def _placed(self, regions: Mapping[int, bytes]) -> list[bytes]:
        found: list[bytes] = []
        for address, content in regions.items():
            kept = content.rstrip(b"\0")
            place = self._places.get(kept)
            if place is None:
                place = self._places[kept] = self._at
                padded = _padded(kept)
                self._data.append(padded)
                self._at += len(padded)
            found.append(_REGION.pack(address, len(content), len(kept), place, 0))
        return found


_KNOWN: dict[tuple[int, ...], tuple[tuple[Step, ...], bytes]] = {}
"""Records of steps by which objects they are: programs of a batch have most of them in common."""


def _steps(steps: tuple[Step, ...]) -> bytes:
    key = tuple(map(id, steps))
    known = _KNOWN.get(key)
    if known is None:
        if len(_KNOWN) > 1000:
            _KNOWN.clear()
        known = _KNOWN[key] = steps, b"".join(map(step, steps))
    return known[1]


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 8)


@dataclass(frozen=True)
class Head:
    """The results' header.

    :param ended: how many programs ended.
    :param program: the index of the program under way, ``None`` when there is none.
    :param step: the step under way, from 1; 0 when there is none.
    :param used: bytes, with the header.
    :param full: the program under way was not started for want of room.
    """

    ended: int
    program: int | None
    step: int
    used: int
    full: bool

    @classmethod
    def of(cls, data: bytes) -> Head | None:
        """From the first bytes of the results; ``None`` when the probe never came so far."""
        magic, version, ended, program, step, used, flags, *_ = _RESULTS.unpack(data[: _RESULTS.size])
        if magic != b"SVMR":
            return None
        if version != VERSION:
            raise ProtocolError(f"the probe writes results of version {version}, not {VERSION}")
        return cls(ended, program - 1 if program else None, step, used, bool(flags & _FULL))


class Result:
    """What the probe left of one program: ``number`` is its index. Decoded when it is asked for."""

    __slots__ = ("_body", "_count", "number")

    def __init__(self, number: int, count: int, body: bytes) -> None:
        self.number = number
        self._count = count
        self._body = body

    def records(self) -> Iterator[bytes]:
        """The record of each step that ended, in order."""
        at = 0
        for _ in range(self._count):
            length = int.from_bytes(self._body[at : at + 4], "little")
            yield self._body[at : at + length]
            at += length

    def steps(self, program: Program) -> list[StepSeen]:
        """What each step did that ended."""
        watched = list(program.watches)
        return [_seen(record, one, watched) for record, one in zip(self.records(), program.steps, strict=False)]

    def __len__(self) -> int:
        return self._count


def results(data: bytes) -> Iterator[Result]:
    """Every program's result, from the results without their header.

    Raises :class:`harness.errors.ProtocolError` for what the probe cannot have written.
    """
    at = 0
    while at < len(data):
        if len(data) - at < _RESULT.size:
            raise ProtocolError("the probe's results are cut short")
        number, _, count, _, length = _RESULT.unpack_from(data, at)
        if length < _RESULT.size or at + length > len(data):
            raise ProtocolError(f"the probe's result of program {number} says that it has {length} bytes")
        yield Result(number, count, data[at + _RESULT.size : at + length])
        at += length


def changes(record: bytes) -> bytes:
    """The changes of the watched memory in a step's record, as the probe wrote them."""
    count = int.from_bytes(record[16:20], "little")
    return record[len(record) - _CHANGE.size * count :]


def _seen(record: bytes, it: Step, watched: Sequence[int]) -> StepSeen:
    _, vector, error, mask, flags, count, _, rip, rflags, cr2 = _ENDED.unpack_from(record)
    at = _ENDED.size
    registers = {name: it.registers.get(name, 0) & _U64 for name in REGISTERS}
    for number, name in enumerate(REGISTERS):
        if mask >> number & 1:
            (registers[name],) = _QWORD.unpack_from(record, at)
            at += 8
    efer = hsave = time = 0
    if flags & _STATE_SEEN:
        efer, hsave = struct.unpack_from("<QQ", record, at)
        at += 16
    if flags & _TIME_SEEN:
        (time,) = _QWORD.unpack_from(record, at)
        at += 8
    xmm: tuple[int, ...] | None = None
    if flags & _XMM_SEEN:
        xmm = tuple(int.from_bytes(record[at + 16 * n : at + 16 * n + 16], "little") for n in range(16))
        at += 256
    changed = {watched[watch] + offset: value for watch, offset, value in _CHANGE.iter_unpack(record[at:])}
    if len(changed) != count:
        raise ProtocolError(f"the probe tells of {count} changes and lists {len(changed)}")
    return StepSeen(
        vector=None if vector == _NO_FAULT else vector,
        error=error,
        rip=rip,
        cr2=cr2,
        efer=efer,
        rflags=rflags,
        registers=registers,
        vm_hsave_pa=hsave,
        changes=changed,
        xmm=xmm,
        time=time if flags & _TIME_SEEN else None,
    )
