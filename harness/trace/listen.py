"""Listens to a plugin while its machine runs."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from harness.machine.plugin import Plugin
from harness.trace.passage import Pairing, Passage
from harness.trace.stream import events
from harness.trace.tally import Tally

_PIPE = 1 << 20

Listener = Callable[[Passage], None]


class Listening:
    """A plugin of ours in a machine, and what it tells: ``tally`` is whole when :func:`listen` is left."""

    def __init__(self, plugin: Plugin) -> None:
        self.plugin = plugin
        self.tally = Tally()
        self.done: Future[None] | None = None

    def over(self) -> str | None:
        """Why the machine need not run on, if so: what the listener raised."""
        return f"nobody listens: {self.done.exception()}" if self.done and self.done.done() else None

    def _take_in(self, reading: int, listener: Listener) -> None:
        pairing = Pairing()
        with os.fdopen(reading, "rb") as stream:  # the plugin is told when we leave: its next event goes nowhere
            for passage in pairing.passages(events(stream)):
                self.tally.add(passage)
                listener(passage)
        self.tally.seconds = pairing.seconds
        self.tally.instructions = sum(pairing.instructions.values())
        self.tally.attempts = pairing.attempts


@contextlib.contextmanager
def listen(library: Path, listener: Listener = lambda _: None) -> Iterator[Listening]:
    """A plugin for one machine. Its passages go to ``listener``, on a thread of its own.

    To be left when the machine has ended. What the listener raises is raised again then.
    """
    reading, writing = os.pipe()
    with contextlib.suppress(OSError):  # more than this user may have: then the machine waits for us more often
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _PIPE)
    listening = Listening(Plugin(library, writing))
    with ThreadPoolExecutor(1, "plugin") as pool:
        listening.done = pool.submit(listening._take_in, reading, listener)
        try:
            yield listening
        finally:
            os.close(writing)  # the last one: the pipe ends
        listening.done.result()
