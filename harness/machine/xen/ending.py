"""How a domain ended: by the last exit in its VMCB, and by what Xen printed."""

from __future__ import annotations

import re
from pathlib import Path

from harness.machine.ending import Ending, How
from harness.machine.ram import Ram
from harness.machine.registers import RFLAGS_IF
from harness.machine.vmcb import Vmcb

_EXIT_HLT, _EXIT_SHUTDOWN = 0x78, 0x7F
_SHOWN = 4 << 10
_TRIPLE_FAULT = re.compile(r"Triple fault - invoking HVM shutdown action")
_CRASH = re.compile(r"domain_crash called from|\) crashed on cpu|Panic on CPU|Xen BUG at|FATAL (?:TRAP|PAGE FAULT)")
_PREFIX = re.compile(r"^\(XEN\) (?:\[[^]]*\] )?")
_IDLE = re.compile(r"\*{4,}|^$|Reboot in|HVM ?d?\d.* (?:save|restore):")
_CHATTER = re.compile(r"Unexpected nested vmexit")
_WORDS = 4


class XenConsole:
    """What Xen prints, in a file that grows."""

    def __init__(self, file: Path) -> None:
        self._file = file

    @property
    def text(self) -> str:
        """The last of it."""
        if not self._file.exists():
            return ""
        with self._file.open("rb") as file:
            file.seek(max(0, self._file.stat().st_size - _SHOWN))
            return file.read().decode("latin-1").replace("\r", "")

    @property
    def said(self) -> str:
        """Its last line that tells something: Xen names the intercepts of a nested guest that it did not expect."""
        lines = (_PREFIX.sub("", line).strip() for line in reversed(self.text.splitlines()))
        return next((line for line in lines if line and not _CHATTER.search(line)), "")

    @property
    def size(self) -> int:
        """In bytes."""
        return self._file.stat().st_size if self._file.exists() else 0


def crash(console: str) -> str | None:
    """Xen's own words, in one line, when it crashed or gave the domain up; a triple fault is neither."""
    lines = console.splitlines()
    for number, line in enumerate(lines):
        if _TRIPLE_FAULT.search(line):
            return None
        if _CRASH.search(line):
            said = (_PREFIX.sub("", one).strip() for one in lines[max(0, number - 1) : number + _WORDS])
            return "; ".join(one for one in said if not _IDLE.search(one))
    return None


def ended(ram: Ram, vmcb_at: int, console: str) -> Ending | None:
    """How the domain ended; ``None`` while it lives.

    A domain whose last exit is HLT with interrupts off, or a shutdown, is never entered again.
    """
    if words := crash(console):
        return Ending(how=How.ENGINE_CRASHED, detail=f"Xen: {words}")
    vmcb = Vmcb(ram.read(vmcb_at, 0x1000))
    if vmcb["exitcode"] == _EXIT_SHUTDOWN or _TRIPLE_FAULT.search(console):
        return Ending(how=How.TRIPLE_FAULT, rips=(vmcb["rip"],))
    if vmcb["exitcode"] == _EXIT_HLT and not vmcb["rflags"] & RFLAGS_IF:
        return Ending(how=How.HALTED, detail="HLT with interrupts off", rips=(vmcb["rip"],))
    return None
