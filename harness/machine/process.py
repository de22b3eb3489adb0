"""A child process that can neither hang the harness nor outlive it.

It gets its own process group, dies with its parent (``PR_SET_PDEATHSIG``), writes to files only, and is waited for by
handle.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from harness.deadline import Deadline
from harness.errors import EngineError, ToolMissing

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def die_with(parent: int) -> None:
    """Let the kernel kill this process as soon as its parent, which has this id, is gone."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked
        os._exit(1)


class Child:
    """A running child process; ``command`` is what was run, ``log`` the file with its stdout and stderr.

    ``stdin`` and ``stdout`` are descriptors for a program that is talked with; its stderr still goes to ``log``.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        *,
        pass_fds: Sequence[int] = (),
        env: dict[str, str] | None = None,
        stdin: int = subprocess.DEVNULL,
        stdout: int | None = None,
    ) -> None:
        self.command = list(command)
        self.log = log
        parent = os.getpid()
        with log.open("wb") as output:
            try:
                self._process = subprocess.Popen(
                    self.command,
                    stdin=stdin,
                    stdout=output if stdout is None else stdout,
                    stderr=output,
                    pass_fds=pass_fds,
                    env=env,
                    start_new_session=True,
                    preexec_fn=lambda: die_with(parent),
                )
            except FileNotFoundError as error:
                raise ToolMissing(f"cannot run {self.command[0]}: no such program", "./svmconf doctor") from error
            except (OSError, subprocess.SubprocessError) as error:
                raise EngineError(f"cannot run {self.command[0]}: {error}") from error
        self._pidfd = os.pidfd_open(self._process.pid)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Its exit status (negative: ended by that signal), or ``None`` while it runs."""
        return self._process.poll()

    @property
    def said(self) -> str:
        """The last of what it wrote to stdout and stderr, without its warnings."""
        data = self.log.read_bytes() if self.log.exists() else b""
        lines = data[-16384:].decode("utf-8", "replace").splitlines()
        return "\n".join(line for line in lines if ": warning: " not in line).strip()[-4096:]

    def wait(self, deadline: Deadline, *also: int) -> bool:
        """Wait until it ended (true), or a descriptor of ``also`` is readable or the deadline passed (false)."""
        if self.status is not None:
            return True
        poll = select.poll()
        for descriptor in (self._pidfd, *also):
            poll.register(descriptor, select.POLLIN)
        poll.poll(int(deadline.left * 1000) + 1)
        return self.status is not None

    def kill(self) -> None:
        """End it and all that it started, at once; harmless when it is over."""
        if self._process.returncode is None:  # else its number may be another's by now
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()
        with contextlib.suppress(OSError):
            os.close(self._pidfd)
        self._pidfd = -1
