"""The machine protocol of QEMU, through the ``qemu.qmp`` library, in the few words that the harness needs."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Coroutine
from typing import Any, TypeVar

from qemu.qmp import ConnectError, EventListener, ExecInterruptedError, ExecuteError, Message, QMPClient, StateError

from harness.errors import EngineError

T = TypeVar("T")
PATIENCE = 10.0
"""Seconds that a monitor has for an answer."""

_ERRORS = (ConnectError, ExecuteError, ExecInterruptedError, StateError, OSError, EOFError, TimeoutError)


class _Client(QMPClient):
    """The library's client without its log: each stop of the gdbstub makes two events, some hundreds a second."""

    def _cb_inbound(self, msg: Message) -> Message:
        return msg


class Qmp:
    """A connected monitor, for code that is not asynchronous.

    Connecting waits for the greeting, so an engine that dies at once is noticed. The library's event loop runs only
    inside our calls.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._loop = asyncio.new_event_loop()
        self._client = _Client("svmconf")
        # The reason for an ending is judged by us; the library would print a dead engine's EOF as an error.
        self._client.logger.disabled = True
        self._shutdowns = EventListener(("SHUTDOWN",))
        self._client.register_listener(self._shutdowns)
        try:
            self._run(self._client.connect(connection))
        except _ERRORS as error:
            self.close()
            raise EngineError(f"the engine's monitor does not answer: {error or type(error).__name__}") from error

    def command(self, name: str, **arguments: object) -> Any:
        """Execute a QMP command and return its answer; raise :class:`EngineError` when it fails."""
        try:
            return self._run(self._client.execute(name, arguments))
        except _ERRORS as error:
            raise EngineError(f"QMP {name}: {error or type(error).__name__}") from error

    def human(self, line: str, processor: int = 0) -> str:
        """The answer of QEMU's human monitor to one line, about one processor if that matters."""
        asked: dict[str, object] = {"command-line": line, "cpu-index": processor}
        return str(self.command("human-monitor-command", **asked))

    def shutdown_reason(self) -> str | None:
        """Why the machine shut down (``guest-shutdown``, ``guest-reset``, ``host-qmp-quit``), if it said so."""
        with contextlib.suppress(*_ERRORS):  # let the library read what came before the end
            self._run(asyncio.wait_for(self._client.runstate_changed(), 0.05))
        for event in self._shutdowns.clear():
            data: Any = event.get("data", {})
            return str(data.get("reason", "unknown"))
        return None

    def quit(self) -> None:
        """Tell the engine to exit."""
        with contextlib.suppress(EngineError):
            self.command("quit")

    def close(self) -> None:
        """Leave the monitor."""
        with contextlib.suppress(*_ERRORS):
            self._run(self._client.disconnect())
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def _run(self, doing: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(asyncio.wait_for(doing, PATIENCE))
