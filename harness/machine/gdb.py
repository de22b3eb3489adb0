"""A client of the GDB remote serial protocol, as the engines' stubs speak it.

It reads and writes registers, sets break- and watchpoints, steps and continues; nothing more. Only the stub's socket
is needed, so it works on any engine that has a stub, and on any image.
"""

from __future__ import annotations

import contextlib
import re
import select
import socket
from dataclasses import dataclass
from xml.etree import ElementTree

from harness.deadline import Deadline
from harness.errors import DeadlineExceeded, EngineError, ProtocolError
from harness.machine.base import Point, Stop

_THREAD = re.compile(r"thread:(?:p[0-9a-f]+\.)?([0-9a-f]+);")
_WATCH = re.compile(r"(?:^|;)([ar]?watch):([0-9a-f]+)")


PATIENCE = 10.0
"""Seconds. Answers take microseconds; a machine under load may need more."""


@dataclass(frozen=True)
class _Slot:
    number: int
    offset: int
    size: int


class Gdb:
    """A connection to a stub. A stub that does not answer a request within :data:`PATIENCE` seconds is given up."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._buffer = b""
        self.processor = 0
        """Whose registers are told: the one that the last stop was about, counted from 0."""
        self._ask("qSupported:xmlRegisters=i386")
        self._slots = self._describe()

    def fileno(self) -> int:
        """The socket's descriptor, for :mod:`select`."""
        return self._socket.fileno()

    # Registers

    def registers(self) -> dict[str, int]:
        """Every register that the stub describes, by its GDB name (``rax``, ``rip``, ``eflags``, ``cr0``, ``efer``)."""
        raw = bytes.fromhex(self._ask("g").replace("x", "0"))
        return {
            name: int.from_bytes(raw[slot.offset : slot.offset + slot.size], "little")
            for name, slot in self._slots.items()
            if slot.offset + slot.size <= len(raw)
        }

    def register(self, name: str) -> int:
        """One register."""
        return int.from_bytes(bytes.fromhex(self._ask(f"p{self._slots[name].number:x}")), "little")

    def write_register(self, name: str, value: int) -> None:
        """Set one register; raise :class:`ProtocolError` when the stub will not."""
        slot = self._slots[name]
        self._expect_ok(f"P{slot.number:x}={value.to_bytes(slot.size, 'little').hex()}", f"set {name}")

    # Break- and watchpoints

    def insert(self, kind: Point, address: int, size: int = 1) -> None:
        """Set a point at a linear address."""
        self._expect_ok(f"Z{kind},{address:x},{size:x}", f"set a {kind.name.lower()} point at {address:#x}")

    def remove(self, kind: Point, address: int, size: int = 1) -> None:
        """Take a point back."""
        self._expect_ok(f"z{kind},{address:x},{size:x}", f"remove the {kind.name.lower()} point at {address:#x}")

    def swap(self, gone: list[tuple[Point, int, int]], new: list[tuple[Point, int, int]]) -> None:
        """Take points back and set others, sent at once rather than one after another; all must succeed."""
        packets = [
            f"{verb}{kind},{at:x},{size:x}" for verb, points in (("z", gone), ("Z", new)) for kind, at, size in points
        ]
        for packet in packets:
            self._send(packet)
        for packet in packets:
            reply = self._receive(Deadline.after(PATIENCE))
            if reply != "OK":
                raise ProtocolError(f"the gdbstub refuses {packet}: {reply or 'not supported'}")

    # Running

    def resume(self) -> None:
        """Let the machine run; the next stop comes by :meth:`wait`."""
        self._send("c")

    def interrupt(self) -> None:
        """Ask a running machine to stop; the stop comes by :meth:`wait`."""
        try:
            self._socket.sendall(b"\x03")
        except OSError as error:
            raise EngineError(f"the gdbstub is gone: {error}") from error

    def step(self) -> Stop:
        """Execute one instruction."""
        self._send("s")
        return self.wait(Deadline.after(PATIENCE))

    def wait(self, deadline: Deadline) -> Stop:
        """The next stop; raise :class:`DeadlineExceeded` when there is none in time."""
        while True:
            reply = self._receive(deadline)
            if reply[:1] == "O":  # console text
                continue
            watch = _WATCH.search(reply[3:])
            thread = _THREAD.search(reply)
            self.processor = int(thread[1], 16) - 1 if thread else 0
            return Stop(reply, int(watch[2], 16) if watch else None)

    def close(self) -> None:
        """Leave the stub; a machine that is stopped goes on."""
        with contextlib.suppress(OSError):
            self._socket.close()

    # The wire

    def _describe(self) -> dict[str, _Slot]:
        slots: dict[str, _Slot] = {}
        number = offset = 0
        for document in self._documents("target.xml"):
            for reg in document.iter("reg"):
                number = int(reg.get("regnum", number))
                size = int(reg.get("bitsize", "0")) // 8
                slots[reg.get("name", "")] = _Slot(number, offset, size)
                offset += size
                number += 1
        if "rip" not in slots:
            raise ProtocolError("the gdbstub describes no 64-bit x86 registers", "is it a 64-bit engine?")
        return slots

    def _documents(self, name: str) -> list[ElementTree.Element]:
        text = ""
        while True:
            part = self._ask(f"qXfer:features:read:{name}:{len(text):x},ffb")
            text += part[1:]
            if part[:1] != "m":
                break
        try:
            # Stubs use the prefix of XInclude, and not all of them declare it.
            root = ElementTree.fromstring(text.replace("<xi:include", "<include"))
        except ElementTree.ParseError as error:
            raise ProtocolError(f"the gdbstub's {name} is not XML: {error}") from error
        included = [part for link in root.iter("include") for part in self._documents(link.attrib["href"])]
        return included or [root]

    def _expect_ok(self, packet: str, what: str) -> None:
        reply = self._ask(packet)
        if reply != "OK":
            raise ProtocolError(f"the gdbstub will not {what}: {reply or 'not supported'}")

    def _ask(self, packet: str) -> str:
        self._send(packet)
        return self._receive(Deadline.after(PATIENCE))

    def _send(self, packet: str) -> None:
        data = packet.encode("latin-1")
        try:
            self._socket.sendall(b"$%b#%02x" % (data, sum(data) & 0xFF))
        except OSError as error:
            raise EngineError(f"the gdbstub is gone: {error}") from error

    def _receive(self, deadline: Deadline) -> str:
        while True:
            start = self._buffer.find(b"$")
            end = self._buffer.find(b"#", start) if start >= 0 else -1
            if end >= 0 and len(self._buffer) >= end + 3:
                body = self._buffer[start + 1 : end]
                if sum(body) & 0xFF != int(self._buffer[end + 1 : end + 3], 16):
                    raise ProtocolError("a packet of the gdbstub has a wrong checksum")
                self._buffer = self._buffer[end + 3 :]
                with contextlib.suppress(OSError):
                    self._socket.sendall(b"+")
                return _expand(body.decode("latin-1"))
            self._buffer += self._read(deadline)

    def _read(self, deadline: Deadline) -> bytes:
        # The socket stays blocking: a timeout on it would hold for sending too.
        if not select.select((self._socket,), (), (), deadline.left)[0]:
            raise DeadlineExceeded("the gdbstub did not answer in time")
        try:
            data = self._socket.recv(1 << 16)
        except OSError as error:
            raise EngineError(f"the gdbstub is gone: {error}") from error
        if not data:
            # The engine ended: the same as the stub's own word for it.
            return b"$W00#b7"
        return data


def _expand(body: str) -> str:
    """Undo run-length encoding (``X*N`` repeats X) and escapes."""
    if "*" in body:
        body = re.sub(r"(.)\*(.)", lambda m: m[1] * (ord(m[2]) - 28), body)
    return re.sub(r"}(.)", lambda m: chr(ord(m[1]) ^ 0x20), body)
