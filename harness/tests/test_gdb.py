"""The gdbstub's client against a stub of our own: its packets, its mistakes, its silence."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from harness.deadline import Deadline
from harness.errors import DeadlineExceeded, ProtocolError
from harness.machine.base import Point, Stop
from harness.machine.gdb import Gdb

# As QEMU's: the prefix is declared nowhere.
TARGET = '<target><architecture>i386:x86-64</architecture><xi:include href="core.xml"/></target>'
CORE = (
    '<feature name="core"><reg name="rax" bitsize="64"/><reg name="rip" bitsize="64"/>'
    '<reg name="eflags" bitsize="32"/><reg name="efer" bitsize="64" regnum="9"/></feature>'
)


class Stub:
    """Answers packets by a table; remembers what was asked."""

    def __init__(self, answers: dict[str, str]) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.asked: list[str] = []
        self.answers = {
            "qSupported:xmlRegisters=i386": "PacketSize=1000",
            "qXfer:features:read:target.xml:0,ffb": "l" + TARGET,
            "qXfer:features:read:core.xml:0,ffb": "m" + CORE[:50],
            "qXfer:features:read:core.xml:32,ffb": "l" + CORE[50:],
            **answers,
        }
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        buffer = b""
        while data := self.theirs.recv(4096):
            buffer += data.replace(b"+", b"")
            while b"#" in buffer and len(buffer) >= buffer.index(b"#") + 3:
                end = buffer.index(b"#")
                packet = buffer[1:end].decode()
                buffer = buffer[end + 3 :]
                self.asked.append(packet)
                answer = self.answers.get(packet)
                if answer is not None:
                    self.say(answer)

    def say(self, answer: str) -> None:
        data = answer.encode("latin-1")
        self.theirs.sendall(b"+$%b#%02x" % (data, sum(data) & 0xFF))

    def close(self) -> None:
        self.ours.close()
        self.theirs.shutdown(socket.SHUT_RDWR)
        self._thread.join(2)
        self.theirs.close()


@pytest.fixture
def stub() -> Iterator[Callable[..., Stub]]:
    made: list[Stub] = []

    def make(**answers: str) -> Stub:
        made.append(Stub(answers))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_registers_by_the_stubs_own_description(stub: Callable[..., Stub]) -> None:
    values = (
        (0x1122).to_bytes(8, "little") + (0x100000).to_bytes(8, "little") + bytes(4) + (0xD00).to_bytes(8, "little")
    )
    one = stub(g=values.hex(), **{"P9=0015000000000000": "OK"})
    gdb = Gdb(one.ours)
    assert gdb.registers() == {"rax": 0x1122, "rip": 0x100000, "eflags": 0, "efer": 0xD00}
    gdb.write_register("efer", 0x1500)
    assert one.asked[-1] == "P9=0015000000000000"


def test_run_length_encoding(stub: Callable[..., Stub]) -> None:
    one = stub(g="0*," + "00" * 20)  # 0 and 15 more of it
    assert Gdb(one.ours).registers()["rax"] == 0


def test_watchpoint_names_its_address(stub: Callable[..., Stub]) -> None:
    one = stub(c="T05thread:01;awatch:1a5008;")
    gdb = Gdb(one.ours)
    gdb.resume()
    stop = gdb.wait(Deadline.after(2))
    assert stop.watched == 0x1A5008 and not stop.gone and not stop.shut_down
    assert gdb.processor == 0


def test_stop_says_whose_registers_are_told(stub: Callable[..., Stub]) -> None:
    gdb = Gdb(stub(c="T05thread:02;", s="T05thread:p01.03;").ours)
    gdb.resume()
    gdb.wait(Deadline.after(2))
    assert gdb.processor == 1
    gdb.step()
    assert gdb.processor == 2


def test_refused_point_is_an_error(stub: Callable[..., Stub]) -> None:
    one = stub(**{"Z4,1000,1000": ""})
    with pytest.raises(ProtocolError, match="will not set a access point at 0x1000: not supported"):
        Gdb(one.ours).insert(Point.ACCESS, 0x1000, 0x1000)


def test_silence_ends_at_the_deadline(stub: Callable[..., Stub]) -> None:
    gdb = Gdb(stub().ours)
    gdb.resume()
    with pytest.raises(DeadlineExceeded):
        gdb.wait(Deadline.after(0.05))


def test_a_stub_that_goes_away_is_the_machines_end(stub: Callable[..., Stub]) -> None:
    one = stub()
    gdb = Gdb(one.ours)
    one.theirs.shutdown(socket.SHUT_WR)
    assert gdb.wait(Deadline.after(2)).gone


def test_damaged_packet(stub: Callable[..., Stub]) -> None:
    one = stub()
    gdb = Gdb(one.ours)
    one.theirs.sendall(b"$T05#00")
    with pytest.raises(ProtocolError, match="checksum"):
        gdb.wait(Deadline.after(2))


@pytest.mark.parametrize(
    ("reply", "processor"),
    [
        ("T05thread:01;", 0),
        ("T05thread:p01.02;", 1),
        ("T05watch:1000;thread:0a;", 9),
        ("S05", 0),
        ("W00", 0),
    ],
)
def test_stop_names_the_processor(reply: str, processor: int) -> None:
    assert Stop(reply).processor == processor
