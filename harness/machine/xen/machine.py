"""A domain of Xen as a machine."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from harness.deadline import Deadline
from harness.errors import DeadlineExceeded, EngineError
from harness.machine.base import Point, Stop
from harness.machine.ending import Ending, How
from harness.machine.handoff import Handoff
from harness.machine.qemu import CONSOLE_LIMIT
from harness.machine.records import RecordReader
from harness.machine.registers import Registers
from harness.machine.xen import parking
from harness.machine.xen.debugger import DomainDebugger
from harness.machine.xen.ending import XenConsole, ended
from harness.machine.xen.layer import Layer, console
from harness.machine.xen.memory import DomainMemory

_TICK = 0.1
_STOP_SECONDS = 2.0
_PAGE = 0x1000
_PARKED = 2 * _PAGE  # the parking page, and the start info that Xen's domain builder puts behind it
_RIP_AND_CR3 = re.compile(r"\b[RE]IP=([0-9a-f]+).*\bCR3=([0-9a-f]+)", re.S)


class XenMachine:
    """A domain that waits before an image's first instruction until :meth:`run`.

    :param seconds: how long the image may take, from :meth:`run` on.
    :param ask_at: whenever the domain comes to this address, :attr:`answers` gets who answered the instruction there.
    """

    def __init__(self, layer: Layer, handoff: Handoff, folder: Path, seconds: float, ask_at: int | None = None) -> None:
        self.started = time.monotonic()
        self._qemu, found = layer.restored(folder)
        try:
            self._ram = self._qemu.ram
            self._found = found
            self._console = XenConsole(console(folder))
            self._outputs = folder / "serial.log", folder / "debugcon.log"
            self.memory = DomainMemory(self._ram, found.vmcb, layer.domain.memory << 20)
            self.debugger = DomainDebugger(self._qemu.debugger, self._ram, found, self._over)
            self._load(handoff)
        except BaseException:
            self._qemu.close()
            raise
        self.command = self._qemu.command
        self.reader: RecordReader = self._qemu.reader
        self._halted_before = False
        self._ask_at = ask_at
        self.answers: list[str] = []
        self.ready = time.monotonic()
        self.deadline = Deadline.after(seconds)

    def _load(self, handoff: Handoff) -> None:
        self.memory.write(parking.BASE, bytes(_PARKED))
        for address, data in handoff.regions:
            self.memory.write(address, data)
        for name, value in (("rip", handoff.eip), ("rax", handoff.eax), ("rbx", handoff.ebx)):
            self.debugger.write_register(name, value)
        for name in ("rcx", "rdx", "rsi", "rdi", "rbp", "rsp"):
            self.debugger.write_register(name, 0)

    @property
    def ram(self) -> DomainMemory:
        """The domain's memory."""
        return self.memory

    @property
    def exit_port_written(self) -> bool:
        """Set by whoever saw it coming."""
        return self._qemu.exit_port_written

    @exit_port_written.setter
    def exit_port_written(self, seen: bool) -> None:
        self._qemu.exit_port_written = seen

    # Running

    def run(
        self,
        on_stop: Callable[[Stop], None],
        at_shutdown: Callable[[], None] = lambda: None,
        over: Callable[[], str | None] = lambda: None,
    ) -> Ending:
        """Let it run to its end (see :class:`harness.machine.base.Machine`)."""
        if self._ask_at is not None:
            self.debugger.insert(Point.HARDWARE, self._ask_at)
        self.debugger.resume()
        look = Deadline.after(_TICK)
        while not self._qemu.child.wait(self.deadline.sooner(look.left), self.debugger.fileno()):
            stop = self._stop()
            if stop is not None:
                if stop.shut_down:
                    self._qemu.qmp.quit()  # it paused instead of exiting
                if stop.shut_down or stop.broken or stop.gone:
                    return self._stopped_for_good()
                if self._ask_at is None:
                    on_stop(stop)
                else:
                    self._ask()
            if look.passed or self.deadline.passed:
                ending = self._looked(at_shutdown, over)
                if ending is not None and ending.how is How.HALTED and not self._halted_before:
                    ending, self._halted_before = (
                        None,
                        True,
                    )  # what it wrote to the exit port before may still be under way
                if ending is not None:
                    return ending
                look = Deadline.after(_TICK)
        return self._exited()

    def _ask(self) -> None:
        self.debugger.step()
        self.answers.append(self.debugger.answered_by)
        self.debugger.resume()

    def _stop(self) -> Stop | None:
        if not self._qemu.child.wait(Deadline.after(0), self.debugger.fileno()):
            with contextlib.suppress(DeadlineExceeded):
                return self.debugger.wait(Deadline.after(0.001))
        return None

    def _looked(self, at_shutdown: Callable[[], None], over: Callable[[], str | None]) -> Ending | None:
        """The ending, if a look from outside shows one."""
        if (why := over()) is not None:
            return Ending(how=How.EXITED, detail=why)
        if (ending := ended(self._ram, self._found.vmcb, self._console.text)) is not None:
            if ending.how is How.TRIPLE_FAULT:
                self._qemu.interrupt()
                at_shutdown()
            return ending
        printed = self._console.size + sum(file.stat().st_size for file in self._outputs if file.exists())
        if printed > CONSOLE_LIMIT:
            return Ending(how=How.HUNG, detail=f"printed more than {CONSOLE_LIMIT >> 20} MiB", rips=self._sample())
        if self.deadline.passed:
            spent = time.monotonic() - self.ready
            detail = f"still running after {spent:.1f} s" + (f"; Xen: {said}" if (said := self._console.said) else "")
            return Ending(how=How.HUNG, detail=detail, rips=self._sample())
        return None

    def _stopped_for_good(self) -> Ending:
        if not self._qemu.child.wait(Deadline.after(_STOP_SECONDS)):
            return Ending(how=How.ENGINE_CRASHED, detail=f"L0 broke: {self._qemu.child.said}")
        return self._exited()

    def _exited(self) -> Ending:
        """L0 has ended: by the domain's write to the exit port, or by a fault of its own."""
        status = self._qemu.child.status
        if status is not None and status > 0 and status & 1 and (status != 1 or self.exit_port_written):
            return Ending(how=How.EXITED, code=status >> 1)
        said = self._qemu.child.said
        if status is not None and status < 0:
            return Ending(how=How.ENGINE_CRASHED, detail=f"L0 was ended by signal {-status}: {said}")
        return Ending(
            how=How.ENGINE_CRASHED, detail=f"L0 ended with exit status {status}: {said or self._console.said}"
        )

    def _over(self) -> bool:
        return ended(self._ram, self._found.vmcb, self._console.text) is not None

    def _sample(self, times: int = 8) -> tuple[int, ...]:
        """Where the domain is, some times; while Xen works for it, where it was when it called."""
        rips = []
        for _ in range(times):
            with contextlib.suppress(EngineError):
                state = _RIP_AND_CR3.search(self._qemu.qmp.human("info registers"))
                inside = state is not None and not self._found.of_xen(self._ram, int(state[2], 16))
                rips.append(int(state[1], 16) if state and inside else self.debugger.vmcb["rip"])
        return tuple(rips)

    def post_mortem(self) -> str | None:
        """The last words of L0, or of Xen when it gave up; ``None`` while they run."""
        if self._qemu.child.wait(self.deadline.sooner(0.5)):
            return self._qemu.child.said or self._console.said
        ending = ended(self._ram, self._found.vmcb, self._console.text)
        return ending.detail if ending is not None and ending.how is How.ENGINE_CRASHED else None

    # What it shows

    def registers(self) -> Registers:
        """The domain's registers and descriptor tables; the machine must be stopped."""
        values = self.debugger.registers()
        if self.debugger.executes:
            return Registers.of(values, self._qemu.qmp.human("info registers"))
        vmcb = self.debugger.vmcb
        tables = {
            name: (vmcb[f"{where}.base"], vmcb[f"{where}.limit"])
            for name, where in (("gdt", "gdtr"), ("idt", "idtr"), ("ldt", "ldtr"), ("tr", "tr"))
        }
        return Registers(values=Registers.of(values).values, tables=tables)

    def interrupt(self) -> None:
        """Stop it, where the domain executes if it still does."""
        self._qemu.interrupt()
        if not self._over():
            self.debugger.enter(Deadline.after(_STOP_SECONDS))

    def console(self) -> str:
        """What the domain printed, then what Xen did. Also feeds the record reader."""
        return "\n".join(filter(None, (self._qemu.console(), self._console.text)))

    # The end of it

    def close(self) -> None:
        """End it; harmless when done before."""
        self._qemu.close()

    def __enter__(self) -> XenMachine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
