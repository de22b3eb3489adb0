"""What goes over the control port to our monitor in L1, and back: the other side of ``hypervisor/vmm/src/wire.rs``.

A frame is a length (4 bytes, of what follows), a kind (1 byte) and a body. All numbers are little-endian.

>>> Job(64, Handoff((), 0x100040, 0, 0), seconds=2.5).encode()[:5]
b'<\\x00\\x00\\x00J'
>>> decode(b"Mabc")
Memory(data=b'abc')
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from harness.errors import ProtocolError
from harness.machine.handoff import Handoff

_REGISTERS = ("eax", "ebx", "ecx", "edx")
_ALL_BITS = 0xFFFF_FFFF
_JOB = struct.Struct("<IIIIQQQ")
_COUNT = struct.Struct("<H")
_CPUID = struct.Struct("<IBII")
_MSR = struct.Struct("<IQ")
_SPAN = struct.Struct("<QI")
_ENDED = struct.Struct("<BBHQQ")
_DEBUG, _SERIAL, _TRACE = 1, 2, 4

CONSOLE_LIMIT = 4 << 20
"""A console of more bytes than this is a machine gone wild."""

HOW = ("exited", "triple fault", "halted", "timed out", "flooded", "reset", "broken", "refused")


@dataclass(frozen=True)
class CpuidChange:
    """A register (``eax`` ... ``edx``) of a CPUID leaf: bits to keep of what KVM supports, and bits to set."""

    leaf: int
    register: str
    keep: int = _ALL_BITS
    set: int = 0


@dataclass(frozen=True)
class Job:
    """A machine to run: ``memory`` in MiB, what a loader leaves in it, its processor, its limits.

    :param debug: it waits for a debugger, and stops instead of ending.
    :param serial: it has a serial port.
    :param trace: the kernel's trace of what KVM did is wanted.
    :param seconds: how long it may run, not counting when it stands still for a debugger.
    :param console: how many bytes it may print.
    :param msrs: what firmware left in model-specific registers.
    :param wanted: memory to be sent when it ends: (address, size) each.
    """

    memory: int
    handoff: Handoff
    debug: bool = False
    serial: bool = False
    trace: bool = False
    seconds: float = 10.0
    console: int = field(default_factory=lambda: CONSOLE_LIMIT)
    cpuid: tuple[CpuidChange, ...] = ()
    msrs: Mapping[int, int] = field(default_factory=dict)
    wanted: tuple[tuple[int, int], ...] = ()

    def encode(self) -> bytes:
        """The whole frame."""
        flags = self.debug * _DEBUG | self.serial * _SERIAL | self.trace * _TRACE
        at = self.handoff
        return _frame(
            b"J",
            _JOB.pack(self.memory, flags, int(self.seconds * 1000), self.console, at.eip, at.eax, at.ebx),
            _many(_CPUID.pack(c.leaf, _REGISTERS.index(c.register), c.keep, c.set) for c in self.cpuid),
            _many(_MSR.pack(index, value) for index, value in self.msrs.items()),
            _many(_SPAN.pack(address, size) for address, size in self.wanted),
            _many(_SPAN.pack(address, len(data)) + data for address, data in at.regions),
        )


def read(address: int, size: int) -> bytes:
    """Ask for memory of the machine, which stands still."""
    return _frame(b"R", _SPAN.pack(address, size))


def close() -> bytes:
    """The machine is not needed any longer."""
    return _frame(b"C")


def execute(command: Iterable[str], files: Mapping[str, bytes], seconds: float) -> bytes:
    """Run an ordinary program of L1; files are written before."""
    return _frame(
        b"X",
        struct.pack("<I", int(seconds * 1000)),
        _many(_block(word.encode()) for word in command),
        _many(_block(path.encode()) + _block(data) for path, data in files.items()),
    )


@dataclass(frozen=True)
class Started:
    """The machine of a job with a debugger waits for it."""


@dataclass(frozen=True)
class Printed:
    """Bytes that were written to the debug port, or to the serial port."""

    port: str
    data: bytes


@dataclass(frozen=True)
class Memory:
    """Memory that was asked for; shorter than that where memory ends."""

    data: bytes


@dataclass(frozen=True)
class Wanted:
    """Memory that the job wanted back at the end."""

    address: int
    data: bytes


@dataclass(frozen=True)
class Trace:
    """The kernel's trace, oldest line first."""

    text: str


@dataclass(frozen=True)
class Ended:
    """How a machine ended (one of :data:`HOW`), and what it took."""

    how: str
    code: int
    exits: int
    seconds: float
    rips: tuple[int, ...]
    text: str


@dataclass(frozen=True)
class Closed:
    """The end of a session."""


@dataclass(frozen=True)
class ProgramEnded:
    """A program's exit status (negative: it was killed, or did not start) and its output."""

    status: int
    output: bytes


Reply = Started | Printed | Memory | Wanted | Trace | Ended | Closed | ProgramEnded


def decode(frame: bytes) -> Reply:
    """A frame without its length; raise :class:`ProtocolError` for what is none."""
    reader = _READERS.get(frame[:1])
    if reader is None:
        raise ProtocolError(f"the monitor in L1 says {frame[:16]!r}, which means nothing")
    try:
        return reader(frame[1:])
    except (struct.error, IndexError) as error:
        raise ProtocolError(f"a frame of the monitor in L1 is cut short: {frame[:32]!r}") from error


def _ended(body: bytes) -> Ended:
    how, code, count, exits, microseconds = _ENDED.unpack_from(body)
    rips = struct.unpack_from(f"<{count}Q", body, _ENDED.size)
    text = body[_ENDED.size + 8 * count :].decode("utf-8", "replace")
    return Ended(HOW[how], code, exits, microseconds / 1e6, rips, text)


_READERS: dict[bytes, Callable[[bytes], Reply]] = {
    b"S": lambda body: Started(),
    b"D": lambda body: Printed("debug", body),
    b"U": lambda body: Printed("serial", body),
    b"M": Memory,
    b"W": lambda body: Wanted(struct.unpack_from("<Q", body)[0], body[8:]),
    b"T": lambda body: Trace(body.decode("latin-1")),
    b"Z": _ended,
    b"C": lambda body: Closed(),
    b"P": lambda body: ProgramEnded(struct.unpack_from("<i", body)[0], body[4:]),
}


def _frame(kind: bytes, *parts: bytes) -> bytes:
    body = kind + b"".join(parts)
    return struct.pack("<I", len(body)) + body


def _many(items: Iterable[bytes]) -> bytes:
    packed = list(items)
    return _COUNT.pack(len(packed)) + b"".join(packed)


def _block(data: bytes) -> bytes:
    return struct.pack("<I", len(data)) + data
