"""The control port of an L1: requests to our monitor, and its replies."""

from __future__ import annotations

import contextlib
import select
import struct

from harness.deadline import Deadline
from harness.errors import DeadlineExceeded, EngineError
from harness.machine.l1 import wire
from harness.machine.l1.linux import CONTROL
from harness.machine.l1.running import Running

_LENGTH = struct.Struct("<I")


class Connection:
    """Speaks with the monitor of a running L1. Raises :class:`EngineError` when L1 is gone."""

    def __init__(self, l1: Running) -> None:
        self._l1 = l1
        self._socket = l1.channels[CONTROL]
        self._buffer = bytearray()

    def fileno(self) -> int:
        """The socket's descriptor, for :mod:`select`."""
        return self._socket.fileno()

    def send(self, frame: bytes, deadline: Deadline) -> None:
        """Send a frame; raise :class:`DeadlineExceeded` when L1 does not take it in time."""
        rest = memoryview(frame)
        while rest:
            if not select.select((), (self._socket,), (), deadline.left)[1]:
                raise DeadlineExceeded("L1 does not take what is sent to it")
            try:
                rest = rest[self._socket.send(rest[: 1 << 16]) :]
            except OSError as error:
                raise self.gone() from error

    def pending(self) -> wire.Reply | None:
        """The next reply, if it has come."""
        with contextlib.suppress(DeadlineExceeded):
            return self.receive(Deadline.after(0))
        return None

    def receive(self, deadline: Deadline) -> wire.Reply:
        """The next reply; raise :class:`DeadlineExceeded` when there is none in time."""
        while True:
            if len(self._buffer) >= _LENGTH.size:
                end = _LENGTH.size + _LENGTH.unpack_from(self._buffer)[0]
                if len(self._buffer) >= end:
                    frame = bytes(self._buffer[_LENGTH.size : end])
                    del self._buffer[:end]
                    return wire.decode(frame)
            if not select.select((self._socket,), (), (), deadline.left)[0]:
                raise DeadlineExceeded("L1 does not answer")
            try:
                data = self._socket.recv(1 << 18)
            except OSError as error:
                raise self.gone() from error
            if not data:
                raise self.gone()
            self._buffer += data

    def gone(self) -> EngineError:
        """What to say of an L1 that ended."""
        self._l1.child.wait(Deadline.after(1.0))
        said = self._l1.child.said or self._l1.last_words
        status = self._l1.child.status
        return EngineError(f"L1 ended (status {status}) in the midst of a job" + (f": {said}" if said else ""))
