"""The debugger that saves round trips, against a stub that counts what it is asked."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from harness.deadline import Deadline
from harness.errors import ProtocolError
from harness.machine.base import Point
from harness.machine.l1.debugger import L1Gdb

XML = '<target><feature name="x"><reg name="rip" bitsize="64"/><reg name="rax" bitsize="64"/></feature></target>'
STOPPED = "T05thread:01;registers:00100000000000002a00000000000000;"


class Stub:
    """Answers like the monitor; ``asked`` holds the packets that came."""

    def __init__(self, connection: socket.socket) -> None:
        self.asked: list[str] = []
        self._connection = connection
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        data = b""
        with contextlib.suppress(OSError):  # the test is over, its end of the pair closed
            while more := self._connection.recv(4096):
                data += more
                while (start := data.find(b"$")) >= 0 and len(data) >= (end := data.find(b"#", start)) + 3 > 3:
                    packet = data[start + 1 : end].decode()
                    data = data[end + 3 :]
                    self.asked.append(packet)
                    reply = self._reply(packet)
                    self._connection.sendall(b"+$%b#%02x" % (reply.encode(), sum(reply.encode()) & 0xFF))

    def join(self) -> None:
        self._thread.join()

    def _reply(self, packet: str) -> str:
        if packet.startswith("qXfer"):
            return f"l{XML}"
        if packet[:1] in "cs":
            return STOPPED
        if packet == "g":
            return "00200000000000002b00000000000000"
        if packet.startswith("p"):
            return "0020000000000000"
        return "" if packet[:2] in ("Z2", "Z4") else "OK"

    def since(self, mark: int) -> list[str]:
        return self.asked[mark:]


@contextlib.contextmanager
def stub() -> Iterator[tuple[socket.socket, Stub]]:
    """A connection to one, which has ended when this does."""
    ours, theirs = socket.socketpair()
    with theirs:
        with ours:
            serving = Stub(theirs)
            yield ours, serving
        serving.join()


@pytest.fixture
def pair() -> Iterator[tuple[L1Gdb, Stub]]:
    with stub() as (connection, serving):
        yield L1Gdb(connection), serving


def test_registers_come_with_the_stop(pair: tuple[L1Gdb, Stub]) -> None:
    gdb, asked = pair
    gdb.resume()
    gdb.wait(Deadline.after(5))
    mark = len(asked.asked)
    assert gdb.registers() == {"rip": 0x1000, "rax": 0x2A}
    assert gdb.register("rax") == 0x2A
    assert asked.since(mark) == []


def test_they_hold_no_longer_than_the_stop(pair: tuple[L1Gdb, Stub]) -> None:
    gdb, asked = pair
    gdb.step()
    gdb.write_register("rax", 1)
    mark = len(asked.asked)
    assert gdb.register("rip") == 0x2000
    assert asked.since(mark) == ["g"]


def test_who_remembers_memory_is_told_that_it_goes_on() -> None:
    moved: list[str] = []
    with stub() as (connection, _):
        gdb = L1Gdb(connection, lambda: moved.append("moved"))
        gdb.registers()
        assert not moved
        gdb.step()
        gdb.resume()
    assert len(moved) == 2


def test_points_are_set_when_it_goes_on(pair: tuple[L1Gdb, Stub]) -> None:
    gdb, asked = pair
    mark = len(asked.asked)
    gdb.insert(Point.SOFTWARE, 0x100)
    gdb.insert(Point.SOFTWARE, 0x200)
    assert asked.since(mark) == []
    gdb.resume()
    gdb.wait(Deadline.after(5))
    assert asked.since(mark) == ["Z0,100,1", "Z0,200,1", "c"]


def test_a_step_over_a_point_costs_one_packet(pair: tuple[L1Gdb, Stub]) -> None:
    gdb, asked = pair
    gdb.insert(Point.SOFTWARE, 0x100)
    gdb.resume()
    gdb.wait(Deadline.after(5))
    mark = len(asked.asked)
    gdb.remove(Point.SOFTWARE, 0x100)
    gdb.step()
    gdb.insert(Point.SOFTWARE, 0x100)
    gdb.resume()
    gdb.wait(Deadline.after(5))
    gdb.remove(Point.SOFTWARE, 0x100)
    gdb.resume()
    gdb.wait(Deadline.after(5))
    assert asked.since(mark) == ["s", "c", "z0,100,1", "c"]


def test_a_watchpoint_is_refused_at_once(pair: tuple[L1Gdb, Stub]) -> None:
    gdb, _ = pair
    with pytest.raises(ProtocolError):
        gdb.insert(Point.ACCESS, 0x1000, 0x1000)
