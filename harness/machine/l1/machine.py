"""One machine that L1 runs for us (L2): the same words as any other machine, over L1's two ports."""

from __future__ import annotations

import contextlib
import select
import time
from collections.abc import Callable
from types import TracebackType

from harness.deadline import Deadline
from harness.errors import DeadlineExceeded, EngineError, ProtocolError
from harness.machine.base import Debugger, Point, Stop
from harness.machine.ending import Ending, How
from harness.machine.l1 import wire
from harness.machine.l1.connection import Connection
from harness.machine.l1.debugger import L1Gdb
from harness.machine.l1.linux import GDB
from harness.machine.l1.running import Running
from harness.machine.records import RecordReader
from harness.machine.registers import Registers

_TICK = 0.1
_PATIENCE = 5.0
_TABLES = ("gdt", "idt", "ldt", "tr")
_SEGMENTS = ("cs", "ss", "ds", "es")


class L1Machine:
    """A machine that is stopped before its first instruction until :meth:`run`.

    A job without a debugger starts at once and cannot be stopped; :attr:`debugger` refuses everything then.
    ``clean`` tells, after :meth:`close`, whether L1 can take another job. ``trace`` is the kernel's trace by then.
    """

    def __init__(self, l1: Running, job: wire.Job, deadline: Deadline) -> None:
        self.command = l1.command
        self.deadline = deadline
        self.started = time.monotonic()
        self.reader = RecordReader()
        self.exit_port_written = False
        self.clean = False
        self.trace = ""
        self.exits = 0
        self._job = job
        self._l1 = l1
        self._connection = Connection(l1)
        self._ended: wire.Ended | None = None
        self._printed = {"debug": bytearray(), "serial": bytearray()}
        self._gdb: L1Gdb | None = None
        self.ram = L2Memory(job.memory << 20, self._ask)
        self._connection.send(job.encode(), deadline)
        if job.debug:
            self._attach()
        self.ready = time.monotonic()

    def _attach(self) -> None:
        while not isinstance(reply := self._connection.receive(self.deadline), wire.Started):
            self._take(reply)
            if self._ended is not None:
                raise EngineError(f"L1 cannot start the machine: {self._ended.text}")
        channel = self._l1.channels[GDB]
        while select.select((channel,), (), (), 0)[0] and channel.recv(1 << 16):
            pass  # what a debugger before us left unread
        self._gdb = L1Gdb(channel.dup(), self.ram.forget)

    @property
    def debugger(self) -> Debugger:
        """What looks inside."""
        return self._gdb or _NoDebugger()

    # Running

    def run(
        self,
        on_stop: Callable[[Stop], None],
        at_shutdown: Callable[[], None] = lambda: None,
        over: Callable[[], str | None] = lambda: None,
    ) -> Ending:
        """Let it run to its end."""
        if self._gdb:
            self._gdb.resume()
        look = Deadline.after(_TICK)
        stop: Stop | None = None
        # With a debugger the end is a stop, and told on the other port before it.
        while self._ended is None or (self._gdb and not (stop and stop.shut_down)):
            stop = self._wait(self.deadline.sooner(look.left))
            if stop is not None and not stop.shut_down:
                on_stop(stop)
            if look.passed:
                look = Deadline.after(_TICK)
                if (why := over()) is not None:
                    return Ending(how=How.EXITED, detail=why)
            if self.deadline.passed:
                raise EngineError(f"L1 does not answer: its machine should have ended by now; {self._l1.last_words}")
        if self._gdb and self._ended.how == "reset":  # a triple fault leaves KVM's processor as after a reset
            at_shutdown()
        return self._ending(self._ended)

    def _wait(self, deadline: Deadline) -> Stop | None:
        """Take in what comes on either port; a stop of the debugger, if there was one."""
        ports = [self._connection.fileno(), *([self._gdb.fileno()] if self._gdb else [])]
        ready = select.select(ports, (), (), deadline.left)[0]
        if self._connection.fileno() in ready:
            self._take(self._connection.receive(self.deadline))
            self._take_all()
        if self._gdb and self._gdb.fileno() in ready:
            stop = self._gdb.wait(self.deadline)
            if stop.gone:
                raise self._connection.gone()
            while stop.shut_down and self._ended is None:
                self._take(self._connection.receive(self.deadline.sooner(_PATIENCE)))
            return stop
        return None

    def _take_all(self) -> None:
        while (reply := self._connection.pending()) is not None:
            self._take(reply)

    def _take(self, reply: wire.Reply) -> None:
        match reply:
            case wire.Printed(port, data):
                self._printed[port] += data
                if port == "debug":
                    self.reader.feed(data)
            case wire.Trace(text):
                self.trace += text
            case wire.Wanted(address, data):
                self.ram.keep(address, data)
            case wire.Ended():
                self._ended = reply
                self.exits = reply.exits
            case wire.Closed():
                self.clean = True
            case _:
                raise ProtocolError(f"the monitor in L1 says {reply}, which nobody asked for")

    def _ending(self, ended: wire.Ended) -> Ending:
        match ended.how:
            case "exited":
                return Ending(how=How.EXITED, code=ended.code)
            case "triple fault":
                return Ending(how=How.TRIPLE_FAULT)
            case "halted":
                return Ending(how=How.HALTED, detail="HLT with interrupts off", rips=ended.rips)
            case "timed out":
                return Ending(how=How.HUNG, detail=f"still running after {ended.seconds:.1f} s", rips=ended.rips)
            case "flooded":
                return Ending(how=How.HUNG, detail=f"printed more than {self._job.console} bytes", rips=ended.rips)
            case "reset":
                return Ending(how=How.RESET, detail="the software reset the machine", rips=ended.rips)
            case "refused":
                return Ending(how=How.HARNESS_ERROR, detail=f"L1 cannot start the machine: {ended.text}")
        return Ending(how=How.ENGINE_CRASHED, detail=ended.text)

    def post_mortem(self) -> str | None:
        """L0's last words when it has ended, or L1 does not answer; ``None`` while it does."""
        with contextlib.suppress(EngineError, DeadlineExceeded, ProtocolError):
            self._ask(0, 1)
            return None
        return self._l1.child.said or self._l1.last_words or "it said nothing"

    # What it shows

    def registers(self) -> Registers:
        """All registers; the machine must be stopped, or over."""
        values = self.debugger.registers()
        tables = {name: (values[f"{name}_base"], values[f"{name}_limit"]) for name in _TABLES}
        parts = ("base", "limit", "attributes")
        loaded = {name: tuple(values[f"{name}_{part}"] for part in parts) for name in _SEGMENTS}
        return Registers.of(values).model_copy(update={"tables": tables, "loaded": loaded})

    def interrupt(self) -> None:
        """Stop a machine that runs; harmless when it has ended."""
        if self._ended is None:
            self.debugger.interrupt()
            self.debugger.wait(Deadline.after(_PATIENCE))

    def console(self) -> str:
        """Debug port and serial port so far, or one of them when both said the same."""
        with contextlib.suppress(EngineError):  # an L1 that is gone says no more
            self._take_all()
        texts = [bytes(data).decode("latin-1") for data in self._printed.values()]
        return "\n".join(dict.fromkeys(filter(None, texts)))

    def _ask(self, address: int, size: int) -> bytes:
        deadline = Deadline.after(_PATIENCE)
        self._connection.send(wire.read(address, size), deadline)
        while not isinstance(reply := self._connection.receive(deadline), wire.Memory):
            self._take(reply)
        return reply.data

    # The end of it

    def close(self) -> None:
        """Give the machine up, so that L1 can take another job."""
        with contextlib.suppress(EngineError, DeadlineExceeded, ProtocolError):
            deadline = Deadline.after(_PATIENCE)
            self._connection.send(wire.close(), deadline)
            while not self.clean:
                self._take(self._connection.receive(deadline))
        if self._gdb:
            self._gdb.close()

    def __enter__(self) -> L1Machine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None or issubclass(kind, Exception):
            self.close()


class L2Memory:
    """The machine's physical memory, read through L1; what was read is remembered while the machine stands still.

    Reading raises :class:`harness.errors.EngineError` or :class:`harness.errors.DeadlineExceeded` when L1 is gone.
    """

    live = False
    _PAGE = 0x1000

    def __init__(self, size: int, ask: Callable[[int, int], bytes]) -> None:
        self.size = size
        self._ask = ask
        self._kept: dict[int, bytes] = {}
        self._pages: dict[int, bytes] = {}

    def read(self, address: int, size: int) -> bytes:
        """``size`` bytes at a physical address; raise :class:`ValueError` outside RAM."""
        if not 0 <= address <= self.size - size:
            raise ValueError(f"{address:#x}+{size:#x} is outside RAM of {self.size:#x} bytes")
        for start, data in self._kept.items():
            if start <= address and address + size <= start + len(data):
                return data[address - start : address - start + size]
        first, last = address // self._PAGE, (address + size + self._PAGE - 1) // self._PAGE
        if any(page not in self._pages for page in range(first, last)):
            data = self._ask(first * self._PAGE, (last - first) * self._PAGE)
            for number, page in enumerate(range(first, last)):
                self._pages[page] = data[number * self._PAGE : (number + 1) * self._PAGE]
        whole = b"".join(self._pages[page] for page in range(first, last))
        return whole[address - first * self._PAGE :][:size]

    def write(self, address: int, data: bytes) -> None:
        """Refuse: our monitor takes memory from a job and from its debugger, which knows linear addresses only."""
        raise ProtocolError("memory of a machine in L1 can only be read")

    def keep(self, address: int, data: bytes) -> None:
        """Remember what L1 sent by itself, at the end."""
        self._kept[address] = data

    def forget(self) -> None:
        """The machine goes on: nothing that was read holds any longer."""
        self._pages.clear()


class _NoDebugger:
    """In place of a debugger, for a machine that has none."""

    def _refuse(self, *_: object) -> ProtocolError:
        return ProtocolError("this machine runs without a debugger")

    def registers(self) -> dict[str, int]:
        """Refuse."""
        raise self._refuse()

    def register(self, name: str) -> int:
        """Refuse."""
        raise self._refuse()

    def write_register(self, name: str, value: int) -> None:
        """Refuse."""
        raise self._refuse()

    def insert(self, kind: Point, address: int, size: int = 1) -> None:
        """Refuse."""
        raise self._refuse()

    def remove(self, kind: Point, address: int, size: int = 1) -> None:
        """Refuse."""
        raise self._refuse()

    def swap(self, gone: list[tuple[Point, int, int]], new: list[tuple[Point, int, int]]) -> None:
        """Refuse."""
        raise self._refuse()

    def step(self) -> Stop:
        """Refuse."""
        raise self._refuse()

    def resume(self) -> None:
        """Refuse."""
        raise self._refuse()

    def interrupt(self) -> None:
        """Refuse."""
        raise self._refuse()

    def wait(self, deadline: Deadline) -> Stop:
        """Refuse."""
        raise self._refuse()
