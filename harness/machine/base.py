"""What a running machine offers, whatever provides it: the border between engines and everything that watches.

:mod:`harness.engines.collect` turns any such machine into an observation. A new engine brings a :class:`Machine`; its
debugger may be a gdbstub (:class:`harness.machine.gdb.Gdb`), or one that speaks another language behind the same words.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from harness.deadline import Deadline
from harness.machine.ending import Ending
from harness.machine.records import RecordReader
from harness.machine.registers import Registers

_THREAD = re.compile(r"[0-9a-f;]thread:(?:p[0-9a-f]+\.)?([0-9a-f]+)")


class Point(IntEnum):
    """Kinds of break- and watchpoints, by their number in GDB's ``Z`` packet.

    ``SOFTWARE`` is written into memory, so the code must be there already; the others change nothing.
    """

    SOFTWARE = 0
    HARDWARE = 1
    WRITE = 2
    READ = 3
    ACCESS = 4


@dataclass(frozen=True)
class Stop:
    """Why the machine stopped: the debugger's own words, and for a watchpoint the linear address that was touched."""

    reply: str
    watched: int | None = None

    @property
    def shut_down(self) -> bool:
        """Whether the machine is in the state after its shutdown, and can still be looked at (SIGQUIT)."""
        return self.reply[1:3] == "03"

    @property
    def broken(self) -> bool:
        """Whether the engine gave up with an internal error (SIGABRT), as KVM does on what it cannot run."""
        return self.reply[1:3] == "06"

    @property
    def gone(self) -> bool:
        """Whether the machine ended rather than stopped."""
        return self.reply[:1] in ("W", "X", "")

    @property
    def processor(self) -> int:
        """Which processor stopped, from 0: a gdbstub counts them as threads, from 1. 0 where it names none."""
        named = _THREAD.search(self.reply)
        return int(named[1], 16) - 1 if named else 0


class Debugger(Protocol):
    """Looks at a machine that is stopped, and says when it stops next. Registers have GDB's names.

    All calls but :meth:`interrupt` and :meth:`wait` need a stopped machine. They raise
    :class:`harness.errors.ProtocolError` for what the engine refuses, :class:`harness.errors.EngineError` when it is
    gone.
    """

    def registers(self) -> dict[str, int]:
        """Every register: rax ... r15, rip, eflags, cs, ss, cr0, cr2, cr3, cr4, efer at least."""

    def register(self, name: str) -> int:
        """One register."""

    def write_register(self, name: str, value: int) -> None:
        """Set one register."""

    def insert(self, kind: Point, address: int, size: int = 1) -> None:
        """Set a break- or watchpoint at a linear address."""

    def remove(self, kind: Point, address: int, size: int = 1) -> None:
        """Take a point back."""

    def swap(self, gone: list[tuple[Point, int, int]], new: list[tuple[Point, int, int]]) -> None:
        """Take points back and set others, at once: (kind, address, size) each."""

    def step(self) -> Stop:
        """Execute one instruction."""

    def resume(self) -> None:
        """Let the machine run; the next stop comes by :meth:`wait`."""

    def interrupt(self) -> None:
        """Ask a running machine to stop; the stop comes by :meth:`wait`."""

    def wait(self, deadline: Deadline) -> Stop:
        """The next stop; raise :class:`harness.errors.DeadlineExceeded` when there is none in time."""


class Memory(Protocol):
    """Guest-physical memory from 0 to ``size`` bytes; ``live`` when it can be read while the machine runs."""

    size: int
    live: bool

    def read(self, address: int, size: int) -> bytes:
        """``size`` bytes at a physical address; raise :class:`ValueError` outside RAM."""

    def write(self, address: int, data: bytes) -> None:
        """Put bytes, none of them code, at a physical address; raise :class:`ValueError` outside RAM.

        The machine must be stopped. Raises :class:`harness.errors.ProtocolError` where the engine cannot.
        """


class Machine(Protocol):
    """A machine that is stopped before its first instruction until :meth:`run`. Closed by ``with``.

    ``command`` is what was run; ``started`` and ``ready`` are in seconds of :func:`time.monotonic`: when it was
    launched, and when it could have executed its first instruction. ``exit_port_written`` is set by whoever saw that
    coming. ``reader`` has the records found on the console so far.
    """

    command: list[str]
    deadline: Deadline
    started: float
    ready: float
    exit_port_written: bool
    reader: RecordReader

    @property
    def debugger(self) -> Debugger:
        """What looks inside."""

    @property
    def ram(self) -> Memory:
        """The guest's memory; readable until the machine is closed, also when it has ended."""

    def run(
        self,
        on_stop: Callable[[Stop], None],
        at_shutdown: Callable[[], None] = lambda: None,
        over: Callable[[], str | None] = lambda: None,
    ) -> Ending:
        """Let it run to its end.

        ``on_stop`` is called at each stop of the debugger and must resume the machine. ``at_shutdown`` is called when
        it has shut down and can still be looked at. ``over`` is asked now and then whether the console shows the end
        already, and answers with why. Raises :class:`harness.errors.EngineError` when the engine breaks, after which
        :meth:`post_mortem` may know why.
        """

    def post_mortem(self) -> str | None:
        """The engine's last words when its process has ended; ``None`` while it runs."""

    def registers(self) -> Registers:
        """All registers, with descriptor tables where the engine tells them; the machine must be stopped."""

    def interrupt(self) -> None:
        """Stop a machine that runs."""

    def console(self) -> str:
        """Debug port and serial port so far. Also feeds :attr:`reader`."""
