"""Runs a program to its end: what it says is kept in memory, and it can be stopped."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.deadline import Deadline
from harness.engines.store.errors import DO_WITHOUT, Stopped
from harness.errors import ToolMissing
from harness.machine.process import Child

_APT_ONLY = "/usr/lib/apt"
"""Where apt has programs that are not for everyday use."""
Tick = Callable[[], None]
_FULL = ("No space left", "enough free space")
_SAYS_WHY = ("E: ", "W: Failed", "dpkg-deb: error", "Err:")
"""How a line starts that tells why, the most telling one first."""


@dataclass(frozen=True)
class Done:
    """What a program left: its exit status (negative: ended by that signal) and all that it said."""

    status: int
    said: str

    @property
    def disk_full(self) -> bool:
        """Whether it ran out of room."""
        return any(words in self.said for words in _FULL)

    @property
    def complaint(self) -> str:
        """The line that says why it failed."""
        lines = [line.strip() for line in self.said.splitlines() if line.strip()]
        telling = [line for line in lines if any(words in line for words in _FULL)]
        telling += [line for start in _SAYS_WHY for line in lines if line.startswith(start)]
        why = (telling or lines[-1:] or [f"exit status {self.status}"])[0]
        return why.removeprefix("E: ")


def run(
    command: Sequence[str],
    deadline: Deadline,
    env: dict[str, str] | None = None,
    stop: threading.Event | None = None,
    tick: Tick = lambda: None,
) -> Done:
    """Run a command, with ``env`` added to the environment, calling ``tick`` every now and then.

    :raises Stopped: ``stop`` was set; nothing of the command is left.
    :raises DeadlineExceeded: likewise when the deadline passed.
    """
    descriptor = os.memfd_create("log")  # a file without a name: none is left behind, whatever happens
    try:
        log = Path(f"/proc/{os.getpid()}/fd/{descriptor}")
        child = Child(command, log, env={**os.environ, "LC_ALL": "C", **(env or {})})
        try:
            while not child.wait(deadline.sooner(0.1)):
                tick()
                deadline.check(" ".join(command[:2]))
                if stop is not None and stop.is_set():
                    raise Stopped("stopped")
            return Done(child.status or 0, log.read_text(errors="replace"))
        except BaseException:
            _ask_to_end(child)
            raise
        finally:
            child.kill()
    finally:
        os.close(descriptor)


def _ask_to_end(child: Child) -> None:
    """A moment to leave things so that the next one can go on: apt notes how new a file is that it has in part."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGTERM)
    child.wait(Deadline.after(1))


def found(program: str) -> str:
    """Where one of Debian's tools is; raise :class:`ToolMissing` with the way to do without."""
    path = shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:{_APT_ONLY}")
    if path is None:
        what = f"no {program} here: engines are fetched with Debian's apt and dpkg-deb"
        raise ToolMissing(what, DO_WITHOUT)
    return path
