"""One running QEMU: its files, its sockets, its end.

QEMU gets its ends of two socket pairs (QMP and gdbstub), so there is nothing to connect to and nothing to race. Its
output goes to files in the case's folder; the guest's RAM is a file that we map too.
"""

from __future__ import annotations

import contextlib
import re
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from harness.deadline import Deadline
from harness.errors import DeadlineExceeded, EngineError, SvmconfError
from harness.machine.base import Stop
from harness.machine.ending import Ending, How
from harness.machine.gdb import Gdb
from harness.machine.plugin import Plugin
from harness.machine.process import Child
from harness.machine.qmp import Qmp
from harness.machine.ram import Ram
from harness.machine.records import RecordReader
from harness.machine.registers import RFLAGS_IF, Registers

CONSOLE_LIMIT = 4 << 20
"""A console of more bytes than this is a machine gone wild."""

_TICK = 0.1
_RIP = re.compile(r"\b[RE]IP=([0-9a-f]+)")
_FLAGS = re.compile(r"\b(?:RFL|EFL)=([0-9a-f]+)")


class QemuMachine:
    """A machine that is stopped before its first instruction until :meth:`run`.

    ``command`` is the command line without the files and sockets, which this class adds; so it does with a plugin.
    """

    def __init__(
        self,
        command: Sequence[str],
        memory: int,
        folder: Path,
        deadline: Deadline,
        env: dict[str, str] | None = None,
        plugin: Plugin | None = None,
    ) -> None:
        self.folder = folder
        self.deadline = deadline
        self.reader = RecordReader()
        self.exit_port_written = False
        """Set by whoever saw it coming: writing 0 there and an error of QEMU's both give exit status 1."""
        self.started = time.monotonic()
        self._serial = folder / "serial.log"
        self._debug = folder / "debugcon.log"
        self._log = folder / "engine.log"
        self._seen = {self._serial: 0, self._debug: 0}
        self._closing = contextlib.ExitStack()
        try:
            self._start(command, memory, env, plugin)
        except BaseException:
            self.close()
            raise

    def _start(self, command: Sequence[str], memory: int, env: dict[str, str] | None, plugin: Plugin | None) -> None:
        size = memory << 20
        self.ram = self._closing.enter_context(Ram(size))
        ram_file = f"/proc/self/fd/{self.ram.descriptor}"
        ours_qmp, theirs_qmp = socket.socketpair()
        ours_gdb, theirs_gdb = socket.socketpair()
        self._closing.callback(ours_qmp.close)
        self._closing.callback(ours_gdb.close)
        self.command = [
            *command,
            *("-m", f"{memory}M"),
            *("-object", f"memory-backend-file,id=ram,size={memory}M,mem-path={ram_file},share=on"),
            *("-debugcon", f"file:{self._debug}", "-serial", f"file:{self._serial}"),
            *("-d", "cpu_reset", "-D", str(self._log)),
            *(plugin.words(ram_file, size) if plugin else ()),
            "-no-shutdown",  # pause instead, so that the last state can be read
            *("-chardev", f"socket,id=qmp,fd={theirs_qmp.fileno()}", "-mon", "chardev=qmp,mode=control"),
            *("-chardev", f"socket,id=gdb,fd={theirs_gdb.fileno()}", "-gdb", "chardev:gdb", "-S"),
        ]
        with theirs_qmp, theirs_gdb:
            self.child = Child(
                self.command,
                self.folder / "stderr.log",
                pass_fds=(
                    *(theirs_qmp.fileno(), theirs_gdb.fileno(), self.ram.descriptor),
                    *((plugin.out,) if plugin else ()),
                ),
                env=env,
            )
        self._closing.callback(self.child.kill)
        try:
            self.qmp = Qmp(ours_qmp)
            self._closing.callback(self.qmp.close)
            self.debugger = Gdb(ours_gdb)
            self._closing.callback(self.debugger.close)
        except SvmconfError as error:
            self.child.wait(Deadline.after(0.5))
            raise EngineError(f"{command[0]} did not start: {self.child.said or error}") from error
        self.ready = time.monotonic()

    # Running

    def run(
        self,
        on_stop: Callable[[Stop], None],
        at_shutdown: Callable[[], None] = lambda: None,
        over: Callable[[], str | None] = lambda: None,
    ) -> Ending:
        """Let it run to its end.

        ``on_stop`` is called at each stop of the gdbstub and must resume the machine. ``at_shutdown`` is called when it
        has shut down and can still be looked at. ``over`` is asked now and then whether the console shows the end
        already, and answers with why.
        """
        self.debugger.resume()
        halted_before = False
        look = Deadline.after(_TICK)
        while not self.child.wait(self.deadline.sooner(look.left), self.debugger.fileno()):
            stop = self._stop()
            if stop is not None:
                ending = self._ended_at(stop, at_shutdown)
                if ending is not None:
                    return ending
                on_stop(stop)
            if not look.passed and not self.deadline.passed:
                continue
            look = Deadline.after(_TICK)
            why = over()
            if why is not None:
                return Ending(how=How.EXITED, detail=why)
            if sum(file.stat().st_size for file in self._seen if file.exists()) > CONSOLE_LIMIT:
                return Ending(how=How.HUNG, detail=f"printed more than {CONSOLE_LIMIT >> 20} MiB", rips=self._sample())
            if self.deadline.passed:
                spent = time.monotonic() - self.started
                return Ending(how=How.HUNG, detail=f"still running after {spent:.1f} s", rips=self._sample())
            halted = self._halted()
            if halted and halted_before:
                return Ending(how=How.HALTED, detail="HLT with interrupts off", rips=self._sample(1))
            halted_before = halted
        return self._exited()

    def _ended_at(self, stop: Stop, at_shutdown: Callable[[], None]) -> Ending | None:
        """The ending, if this stop is one."""
        if stop.shut_down:
            at_shutdown()
            return self._shut_down()
        if stop.broken:
            return Ending(how=How.ENGINE_CRASHED, detail=f"internal error: {self.child.said}")
        if not stop.gone:
            return None
        if self.child.wait(Deadline.after(2.0)):
            return self._exited()
        return Ending(how=How.ENGINE_CRASHED, detail="the gdbstub closed while the engine ran on")

    def _stop(self) -> Stop | None:
        if not self.child.wait(Deadline.after(0), self.debugger.fileno()):
            with contextlib.suppress(DeadlineExceeded):
                return self.debugger.wait(Deadline.after(0.001))
        return None

    def _shut_down(self) -> Ending:
        """It paused instead of exiting, so that it could be looked at: let it exit now."""
        rip = self.debugger.registers()["rip"]
        reason = self.qmp.shutdown_reason()
        self.qmp.quit()
        if not self.child.wait(Deadline.after(2.0)):
            return Ending(how=How.ENGINE_CRASHED, detail="it does not end when told to quit")
        if "Triple fault" in self._log.read_text("latin-1"):  # TCG says so, in its log of resets
            return Ending(how=How.TRIPLE_FAULT, rips=(rip,))
        if reason == "guest-reset":
            return Ending(how=How.RESET, detail="the software reset the machine", rips=(rip,))
        return self._exited(reason)

    def _exited(self, reason: str | None = None) -> Ending:
        status = self.child.status
        assert status is not None
        if status < 0:
            return Ending(how=How.ENGINE_CRASHED, detail=f"ended by signal {-status}: {self.child.said}")
        if status & 1 and (status != 1 or self.exit_port_written or not self.child.said):
            return Ending(how=How.EXITED, code=status >> 1)
        if status:
            return Ending(how=How.ENGINE_CRASHED, detail=f"exit status {status}: {self.child.said}")
        return Ending(how=How.SHUTDOWN, detail=reason or "")

    def _halted(self) -> bool:
        try:
            state = self.qmp.human("info registers")
        except EngineError:
            return False
        flags = _FLAGS.search(state)
        return "HLT=1" in state and flags is not None and not int(flags[1], 16) & RFLAGS_IF

    def _sample(self, times: int = 8) -> tuple[int, ...]:
        rips: list[int] = []
        for _ in range(times):
            with contextlib.suppress(EngineError):
                found = _RIP.search(self.qmp.human("info registers"))
                if found:
                    rips.append(int(found[1], 16))
        return tuple(rips)

    def post_mortem(self) -> str | None:
        """What it said last, when it has ended or does so at once; ``None`` while it runs."""
        return self.child.said if self.child.wait(self.deadline.sooner(0.5)) else None

    # What it shows

    def registers(self) -> Registers:
        """All registers; the machine must be stopped."""
        return Registers.of(self.debugger.registers(), self.qmp.human("info registers", self.debugger.processor))

    def interrupt(self) -> None:
        """Stop a machine that runs."""
        self.debugger.interrupt()
        self.debugger.wait(Deadline.after(1.0))

    def console(self) -> str:
        """Debug port and serial port so far, or one of them when both said the same. Also feeds the record reader."""
        for file in (self._debug, self._serial):
            if file.exists():
                with file.open("rb") as data:
                    data.seek(self._seen[file])
                    new = data.read(CONSOLE_LIMIT)
                self._seen[file] += len(new)
                if file == self._debug:
                    self.reader.feed(new)
        texts = [f.read_bytes()[:CONSOLE_LIMIT].decode("latin-1") for f in self._seen if f.exists()]
        return "\n".join(dict.fromkeys(filter(None, texts)))

    # The end of it

    def close(self) -> None:
        """End it and give the guest's RAM back; harmless when done before."""
        self._closing.close()

    def __enter__(self) -> QemuMachine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
