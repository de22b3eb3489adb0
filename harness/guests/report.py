"""What a Linux guest said on its console (:mod:`harness.guests.workload`), as plain data. Its words, not evidence."""

from __future__ import annotations

import re
from dataclasses import dataclass

_SAID = re.compile(r"^@linux (\S+) ?(.*?)\r*$", re.M)
_LOG = re.compile(r"^@linux log begin\r*$(.*)^@linux log end\r*$", re.M | re.S)
_LINE = re.compile(r"^<(\d+)>(?:\[ *\d+\.\d+\] ?)?(.*?)\r*$", re.M)
_NUMBER = re.compile(r"0x[0-9a-f]+|\b[0-9a-f]{8,16}\b|\d+")
_WARNING = 4
"""KERN_WARNING; what is worse has a smaller number."""


@dataclass(frozen=True)
class Report:
    """What it said by name, and its kernel's log: level and text of each line."""

    said: dict[str, str]
    log: tuple[tuple[int, str], ...]

    @classmethod
    def of(cls, console: str) -> Report:
        """Read a console. What was never said is not there."""
        found = _LOG.search(console)
        log = tuple((int(level) & 7, text) for level, text in _LINE.findall(found[1])) if found else ()
        return cls({name: value for name, value in _SAID.findall(console) if name != "log"}, log)

    @property
    def done(self) -> bool:
        """Whether it came to the end of its workload."""
        return "done" in self.said

    def values(self, name: str) -> dict[str, int]:
        """A line of ``key=number`` words."""
        words = (word.partition("=") for word in self.said.get(name, "").split())
        return {key: int(value) for key, _, value in words if value.isdigit()}

    def warnings(self) -> dict[str, str]:
        """The lines of level warning or worse, by what is left of them without their numbers."""
        return {_NUMBER.sub("N", text): text for level, text in self.log if level <= _WARNING}
