"""One running Bochs: its files, its pipes, its end.

Bochs gets its ROM, its configuration and its serial port as files without names, and three pipes: there is nothing to
connect to, nothing to lock and nothing to be left behind. The pipe behind its log tells at once what no debugger stop
tells (see :mod:`harness.machine.bochs.log`).
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from harness.deadline import Deadline
from harness.errors import DeadlineExceeded, EngineError, SvmconfError
from harness.machine.base import Stop
from harness.machine.bochs.config import INSTRUCTIONS_A_SECOND, Config
from harness.machine.bochs.debugger import HALTED, INTERRUPTED, SHUT_DOWN, BochsDebugger
from harness.machine.bochs.dialogue import PATIENCE, Dialogue
from harness.machine.bochs.log import Log
from harness.machine.bochs.memory import BochsMemory
from harness.machine.bochs.ram_image import RamImage
from harness.machine.bochs.rom import video_rom
from harness.machine.ending import Ending, How
from harness.machine.process import Child
from harness.machine.records import RecordReader
from harness.machine.registers import RFLAGS_IF, Registers

CONSOLE_LIMIT = 4 << 20
"""A console of more bytes than this is a machine gone wild."""

FIRMWARE = range(0xFFFF_0000, 1 << 32)
"""Where our ROM executes: whoever fails there never came to the image."""

_TICK = 0.1
_LAST_WORDS = "Bochs is exiting with the following message:\n"
_COMPLAINT = re.compile(r"^(?!\d+[a-z]\[).*(?:\*\*\*|[Ee]rror ).*$", re.M)
_STOPS_WITHIN = 2.0
_SERIAL_TAIL = 0.005
"""Seconds. The last bytes on the serial port take their time after the exit port was written."""


@dataclass(frozen=True)
class Setup:
    """What is to be started: a Bochs (``argv``, ``env``, ``version``), and what is in it. ``memory`` in MiB.

    ``speed`` is in instructions a second of the machine's own time.
    """

    argv: tuple[str, ...]
    env: dict[str, str]
    version: tuple[int, int]
    model: str
    memory: int
    rom: bytes
    without: tuple[str, ...] = ()
    ram: RamImage | None = None
    speed: int = INSTRUCTIONS_A_SECOND


class BochsMachine:
    """A machine that is stopped before its first instruction until :meth:`run`."""

    def __init__(self, setup: Setup, folder: Path, deadline: Deadline) -> None:
        self.deadline = deadline
        self.reader = RecordReader()
        self.exit_port_written = False
        self.started = time.monotonic()
        self._fed = 0
        self._closing = contextlib.ExitStack()
        try:
            self._start(setup, folder)
        except BaseException:
            self.close()
            raise
        self.ready = time.monotonic()

    def _start(self, setup: Setup, folder: Path) -> None:
        self._log = Log(folder / "engine.log")
        self._closing.callback(self._log.close)
        to_read, to_write = os.pipe()
        answers_read, answers_write = os.pipe()
        log_read, log_write = os.pipe()
        self._dialogue = Dialogue(to_write, answers_read, log_read, self._log)
        self._closing.callback(self._dialogue.close)
        with contextlib.ExitStack() as theirs:
            for descriptor in (to_read, answers_write, log_write):
                theirs.callback(os.close, descriptor)
            self._serial = self._file("serial", b"")
            ram = self._file("ram", setup.ram.content if setup.ram else b"")
            config = Config(
                version=setup.version,
                model=setup.model,
                memory=setup.memory,
                rom=_path(rom := self._file("rom", setup.rom)),
                video_rom=_path(video := self._file("video", video_rom())),
                log=_path(log_write),
                serial=_path(self._serial),
                without=setup.without,
                ram=_path(ram) if setup.ram else "",
                ram_at=setup.ram.address if setup.ram else 0,
                speed=setup.speed,
            )
            (folder / "bochsrc").write_text(str(config))
            settings = self._file("bochsrc", str(config).encode())
            self.command = [*setup.argv, *config.arguments, "-f", _path(settings)]
            self._child = Child(
                self.command,
                folder / "stderr.log",
                pass_fds=(settings, rom, video, ram, self._serial, log_write),
                env={**os.environ, **setup.env, "TERM": "dumb", "INPUTRC": os.devnull},
                stdin=to_read,
                stdout=answers_write,
            )
        self._closing.callback(self._child.kill)
        try:
            self._dialogue.first_prompt(self.deadline.sooner(PATIENCE))
        except SvmconfError as error:
            self._child.wait(Deadline.after(0.5))
            words = self._words() or error
            raise EngineError(f"{setup.argv[-1]} did not start: {words}", f"see {folder}/bochsrc") from error
        if setup.ram and not config.reads_ram_images:
            self._put(setup.ram)
        self.debugger = BochsDebugger(self._dialogue, self._child.pid)
        self.ram = BochsMemory(setup.memory << 20, self.debugger)

    def _put(self, ram: RamImage) -> None:
        """What a Bochs does that reads a RAM image: to the start of the blocks that the ROM will touch first."""
        if self._log.ram_at is None:
            raise EngineError("Bochs does not say where it keeps the machine's memory")
        try:
            with Path(f"/proc/{self._child.pid}/mem").open("r+b") as memory:
                memory.seek(self._log.ram_at)
                memory.write(ram.content)
        except OSError as error:
            raise EngineError(
                f"a RAM image cannot be written into Bochs: {error.strerror}",
                "this Bochs reads none itself; is this process forbidden to trace its children?",
            ) from error

    def _file(self, name: str, content: bytes) -> int:
        descriptor = os.memfd_create(f"svmconf-{name}")
        self._closing.callback(os.close, descriptor)
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(content)
        return descriptor

    # Running

    def run(
        self,
        on_stop: Callable[[Stop], None],
        at_shutdown: Callable[[], None] = lambda: None,
        over: Callable[[], str | None] = lambda: None,
    ) -> Ending:
        """Let it run to its end, which leaves it stopped: see :meth:`harness.machine.base.Machine.run`."""
        self.debugger.resume()
        look = Deadline.after(_TICK)
        while True:
            stop = self.debugger.poll(self.deadline.sooner(look.left))
            ending = self._ending(stop, at_shutdown)
            if ending is not None:
                return ending
            if stop is not None:
                on_stop(stop)
            if look.passed or self.deadline.passed:
                look = Deadline.after(_TICK)
                ending = self._look(on_stop, over)
                if ending is not None:
                    return ending

    def _ending(self, stop: Stop | None, at_shutdown: Callable[[], None]) -> Ending | None:
        """The ending, if this stop is one or the log tells one."""
        if stop is not None and stop.gone:
            return self._gone()
        if stop is not None and stop.broken:
            return Ending(how=How.ENGINE_CRASHED, detail=self._words())
        if stop is not None and stop.shut_down:
            rip = self.debugger.register("rip")
            if rip in FIRMWARE:
                raise EngineError("the processor refuses what our firmware does: is the MSR that it writes there?")
            at_shutdown()
            return Ending(how=How.TRIPLE_FAULT, rips=(rip,))
        if not self._log.telling:
            return None
        if self._log.switched_off:
            return self._gone()
        if self._log.exit_code is not None:
            self._child.wait(Deadline.after(_SERIAL_TAIL))
            self._stop()
            return Ending(how=How.EXITED, code=self._log.exit_code)
        self._stop()
        return Ending(how=How.RESET, detail="the software reset the machine")

    def _look(self, on_stop: Callable[[Stop], None], over: Callable[[], str | None]) -> Ending | None:
        """What is only looked for now and then."""
        why = over()
        if why is not None:
            self._stop()
            return Ending(how=How.EXITED, detail=why)
        if self._dialogue.flush() > CONSOLE_LIMIT:
            return self._hung(f"printed more than {CONSOLE_LIMIT >> 20} MiB")
        if self.deadline.passed:
            return self._hung(f"still running after {time.monotonic() - self.started:.1f} s")
        return self._halted(on_stop) if self._log.idle else None

    def _halted(self, on_stop: Callable[[Stop], None]) -> Ending | None:
        """HLT with interrupts off was executed: is the processor still there, or was it intercepted?"""
        self._log.idle = False
        stop = self._stop()
        if stop is None or stop.gone or stop.broken or stop.shut_down:
            return None  # told again at the next turn
        if self.debugger.activity() == HALTED and not self.debugger.register("eflags") & RFLAGS_IF:
            rip = self.debugger.register("rip")
            return Ending(how=How.HALTED, detail="HLT with interrupts off", rips=(rip,))
        if stop.reply == INTERRUPTED:
            self.debugger.resume()
        else:
            on_stop(stop)
        return None

    def _hung(self, detail: str) -> Ending:
        rips: list[int] = []
        while len(rips) < 8 and (stop := self._stop()) is not None:
            if stop.gone:
                return self._gone()
            rips.append(self.debugger.register("rip"))
            if self.debugger.activity() == SHUT_DOWN:
                return Ending(how=How.SHUTDOWN, detail="the processor has shut down", rips=tuple(rips[-1:]))
            self.debugger.resume()
        self._stop()
        return Ending(how=How.HUNG, detail=detail, rips=tuple(rips))

    def _stop(self) -> Stop | None:
        """Have it stand, whatever it was doing; ``None`` when it stood already or does not answer."""
        deadline = Deadline.after(_STOPS_WITHIN)
        while self.debugger.running and not deadline.passed:
            self.debugger.interrupt()  # one that comes before the machine runs again has no effect
            with contextlib.suppress(DeadlineExceeded):
                return self.debugger.wait(deadline.sooner(_TICK))
        return None

    def _gone(self) -> Ending:
        if not self._child.wait(Deadline.after(2.0)):
            return Ending(how=How.ENGINE_CRASHED, detail="Bochs closed its debugger and runs on")
        if self._log.switched_off:
            return Ending(how=How.SHUTDOWN, detail="the software switched the machine off")
        status = self._child.status or 0
        how = f"ended by signal {-status}" if status < 0 else f"exit status {status}"
        return Ending(how=How.ENGINE_CRASHED, detail=": ".join(filter(None, (how, self._words()))))

    def _words(self) -> str:
        """Its own message: the panic in its log, its last words, or a complaint on its standard error."""
        said, marked, last = self._child.said.partition(_LAST_WORDS)
        complaints = _COMPLAINT.findall(said)
        return self._log.panic or last.partition("\n")[0] or (complaints[-1] if complaints and not marked else "")

    def post_mortem(self) -> str | None:
        """What it said last, when it has ended or does so at once; ``None`` while it runs."""
        return self._words() if self._child.wait(self.deadline.sooner(0.5)) else None

    # What it shows

    def registers(self) -> Registers:
        """All registers; the machine must be stopped."""
        return self.debugger.whole_state()

    def interrupt(self) -> None:
        """Stop a machine that runs."""
        self._stop()

    def console(self) -> str:
        """Debug port and serial port so far, or one of them when both said the same. Also feeds :attr:`reader`."""
        self._dialogue.flush()
        printed = bytes(self._dialogue.printed)
        self.reader.feed(printed[self._fed :])
        self._fed = len(printed)
        debug = printed[:CONSOLE_LIMIT].decode("latin-1")
        serial = os.pread(self._serial, CONSOLE_LIMIT, 0).decode("latin-1")
        return debug if debug.startswith(serial) else "\n".join(filter(None, (debug, serial)))

    # The end of it

    def close(self) -> None:
        """End it; harmless when done before."""
        self._closing.close()

    def __enter__(self) -> BochsMachine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _path(descriptor: int) -> str:
    return f"/proc/self/fd/{descriptor}"
