"""Our monitor's debugger: the ordinary protocol, with fewer questions. A round trip through L1 takes a while."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable

from harness.deadline import Deadline
from harness.machine.base import Point, Stop
from harness.machine.gdb import Gdb

_REGISTERS = re.compile(r";registers:([0-9a-f]+)")
_Place = tuple[Point, int, int]


class L1Gdb(Gdb):
    """Saves round trips in two ways that nobody notices.

    Every stop comes with all registers, which hold until the machine goes on. Points are set and taken back when it
    goes on, together; taking one back for a step and setting it again is nothing then, as the monitor steps over it.

    ``moved`` is called when the machine goes on, by however little.
    """

    def __init__(self, connection: socket.socket, moved: Callable[[], None] = lambda: None) -> None:
        self._moved = moved
        self._held: dict[str, int] = {}
        self._set: set[_Place] = set()
        self._wanted: set[_Place] = set()
        super().__init__(connection)

    def registers(self) -> dict[str, int]:
        """Every register, by its GDB name."""
        if not self._held:
            self._held = super().registers()
        return dict(self._held)

    def register(self, name: str) -> int:
        """One register."""
        return self.registers()[name]

    def write_register(self, name: str, value: int) -> None:
        """Set one register."""
        self._held = {}
        super().write_register(name, value)

    def insert(self, kind: Point, address: int, size: int = 1) -> None:
        """Set a point; what the monitor cannot do at all (a watchpoint) is refused at once."""
        if kind in (Point.WRITE, Point.READ, Point.ACCESS):
            super().insert(kind, address, size)
        self._wanted.add((kind, address, size))

    def remove(self, kind: Point, address: int, size: int = 1) -> None:
        """Take a point back."""
        self._wanted.discard((kind, address, size))

    def swap(self, gone: list[_Place], new: list[_Place]) -> None:
        """Take points back and set others."""
        for place in gone:
            self.remove(*place)
        for place in new:
            self.insert(*place)

    def step(self) -> Stop:
        """Execute one instruction."""
        self._held = {}
        self._moved()
        return super().step()

    def resume(self) -> None:
        """Let the machine run."""
        if self._wanted != self._set:
            gone, new = sorted(self._set - self._wanted), sorted(self._wanted - self._set)
            self._set = set(self._wanted)
            super().swap(gone, new)
        self._held = {}
        self._moved()
        super().resume()

    def wait(self, deadline: Deadline) -> Stop:
        """The next stop."""
        stop = super().wait(deadline)
        if told := _REGISTERS.search(stop.reply):
            self._held = self._named(bytes.fromhex(told[1]))
        return stop

    def _named(self, raw: bytes) -> dict[str, int]:
        return {
            name: int.from_bytes(raw[slot.offset : slot.offset + slot.size], "little")
            for name, slot in self._slots.items()
        }
