"""One QEMU that runs an L1 system: its process, its monitor, its channels to us, its end.

Nothing of it has a name in the file system, so nothing is left of it however we end: channels are socket pairs, its
log and output are files in memory.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from harness.deadline import Deadline
from harness.errors import DeadlineExceeded, EngineError
from harness.machine.process import Child
from harness.machine.qmp import Qmp

_LOG_KEPT = 4096


class Running:
    """A QEMU that was started with ``command``, to which this class adds chardevs and a monitor.

    ``channels`` are the sockets of its chardevs by id. Closed by ``with``. Raises
    :class:`harness.errors.EngineError` when it does not start.
    """

    def __init__(
        self, command: Sequence[str], channels: Sequence[str], env: dict[str, str], descriptors: Sequence[int] = ()
    ) -> None:
        self._closing = contextlib.ExitStack()
        try:
            self._start(command, channels, env, descriptors)
        except BaseException:
            self.close()
            raise

    def _start(
        self, command: Sequence[str], channels: Sequence[str], env: dict[str, str], descriptors: Sequence[int]
    ) -> None:
        self._log = self._in_memory("svmconf-l1-log")
        output = self._in_memory("svmconf-l1-output")
        ours: dict[str, socket.socket] = {}
        words = ["-chardev", f"file,id=log,path=/proc/self/fd/{self._log}"]
        with contextlib.ExitStack() as theirs:
            inherited = [*descriptors, self._log]
            for name in (*channels, "monitor"):
                ours[name], other = socket.socketpair()
                self._closing.enter_context(ours[name])
                theirs.enter_context(other)
                words += ["-chardev", f"socket,id={name},fd={other.fileno()}"]
                inherited.append(other.fileno())
            self.command = [*command, *words, "-mon", "chardev=monitor,mode=control"]
            file = Path(f"/proc/{os.getpid()}/fd/{output}")
            self.child = Child(self.command, file, pass_fds=inherited, env=env)
        self._closing.callback(self.child.kill)
        monitor = ours.pop("monitor")
        self.channels = ours
        try:
            self.qmp = Qmp(monitor)
        except EngineError as error:
            self.child.wait(Deadline.after(0.5))
            raise EngineError(f"{command[0]} did not start: {self.child.said or error}") from error
        self._closing.callback(self.qmp.close)

    def _in_memory(self, name: str) -> int:
        descriptor = os.memfd_create(name)
        self._closing.callback(os.close, descriptor)
        return descriptor

    @property
    def log(self) -> str:
        """The end of what the system wrote to the chardev ``log``."""
        size = os.fstat(self._log).st_size
        return os.pread(self._log, _LOG_KEPT, max(0, size - _LOG_KEPT)).decode("utf-8", "replace").strip()

    def wait_for(self, channel: str, mark: bytes, deadline: Deadline) -> bytes:
        """All that comes on a channel up to ``mark``; raise :class:`EngineError` when it ends or takes too long."""
        seen = b""
        while mark not in seen:
            if not select.select((self.channels[channel],), (), (), deadline.left)[0]:
                raise DeadlineExceeded(f"no {mark!r} on {channel} in time; it said: {self.last_words or seen[-500:]!r}")
            data = self.channels[channel].recv(1 << 16)
            if not data:
                self.child.wait(Deadline.after(0.5))
                raise EngineError(f"it ended before it was up; it said: {self.child.said or self.last_words}")
            seen += data
        return seen

    @property
    def last_words(self) -> str:
        """The last line of the log, for an error message."""
        return (self.log.splitlines() or [""])[-1][:200]

    def close(self) -> None:
        """End it at once; harmless when done before."""
        self._closing.close()

    def __enter__(self) -> Running:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
