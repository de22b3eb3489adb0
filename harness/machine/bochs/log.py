"""Bochs' log, read as it is written: it tells first what no debugger stop tells."""

from __future__ import annotations

import re
from pathlib import Path

_LINE = re.compile(r"\d+([a-z])\[([^]]*)\] (.*)")
_EXIT = re.compile(r"\d+-bit write to 00f4 = ([0-9a-f]+)")
_TRIPLE_FAULT = "exception with no resolution"
_RESET = "bx_pc_system_c::Reset("
_IDLE = "HLT instruction with IF=0"
_RAM = re.compile(r"allocated memory at \S+ after alignment, vector=(0x[0-9a-f]+)")
_OFF = ("shutdown requested", "soft power off")
_DEBUG = "d"
_KEPT = 1 << 20


class Log:
    """What the log said since the last :meth:`forget`; its lines go to a file, but for each byte written to a port.

    ``exit_code`` is what was written to the exit port, 7 bits as with QEMU's isa-debug-exit. ``was_reset``,
    ``switched_off`` and ``triple_fault`` tell what happened to the machine; ``idle`` that it executed HLT with
    interrupts off, which a hypervisor may have intercepted; ``panic`` what Bochs itself could not deal with. ``ram_at``
    is where in its own memory it keeps the machine's, told at its start and not forgotten.
    """

    def __init__(self, file: Path) -> None:
        self._file = file.open("wb")
        self._room = _KEPT
        self._rest = b""
        self.ram_at: int | None = None
        self.forget()

    def forget(self) -> None:
        """What came so far was Bochs' own start."""
        self.exit_code: int | None = None
        self.was_reset = self.switched_off = self.triple_fault = self.idle = False
        self.panic = ""

    @property
    def telling(self) -> bool:
        """Whether the machine is at its end by what it did."""
        return self.exit_code is not None or self.was_reset or self.switched_off

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            match = _LINE.fullmatch(line.decode("latin-1"))
            if match is None or match[1] != _DEBUG:
                self._keep(line + b"\n")
            if match is not None:
                self._note(*match.groups())

    def _keep(self, line: bytes) -> None:
        if len(line) <= self._room:
            self._file.write(line)
        self._room -= len(line)

    def _note(self, level: str, device: str, text: str) -> None:
        if (match := _EXIT.search(text)) and self.exit_code is None:
            self.exit_code = int(match[1], 16) & 0x7F
        elif _TRIPLE_FAULT in text:
            self.triple_fault = True
        elif _RESET in text:
            self.was_reset = True
        elif _IDLE in text:
            self.idle = True
        elif match := _RAM.search(text):
            self.ram_at = int(match[1], 16)
        elif any(words in text for words in _OFF):
            self.switched_off = True
        elif level == "p":
            self.panic = f"[{device.strip()}] {text.removeprefix('>>PANIC<< ')}"

    def close(self) -> None:
        """Write out what is kept."""
        self._file.close()
