"""Guests that try one instruction each, with intercepts set and without: all that a file is about in one program.

A guest that nothing stops comes to its VMMCALL; a fault is intercepted, and so seen as what it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from conformance.vmrun.guests import exit_codes
from harness.lab import places
from harness.lab.assemble import assemble
from harness.lab.guest import Guest, Mode, guest
from harness.lab.program import Program, Step
from harness.lab.programs import vmruns
from harness.lab.seen import Seen
from harness.lab.vmcb import Draft
from harness.model import exits

DB, BP, UD, NM, SS, GP, PF = (exits.EXCEPTION + vector for vector in (1, 3, 6, 7, 12, 13, 14))
GOES_ON = exits.VMMCALL

HERE = places.DATA
"""Memory that every guest may read and write; it holds zeros."""

NOWHERE = 1 << 30
"""A linear address that no page table of a guest translates."""

NOT_RUN = 0xF000_0000
"""EXITCODE before VMRUN: no exit leaves it there (SVM-C-003)."""

FAULTS = (UD, NM, SS, GP, PF)
"""Exit codes of the exceptions that are intercepted unless a try says otherwise."""

Changes = dict[str, Any]
"""Keywords of :func:`tried`, to be used several times."""

_USER = 3 << 5
"""DPL 3, in a segment's attributes."""

_CODES = places.DATA + 0x10 * places.PAGE


@dataclass(frozen=True)
class Try:
    """An instruction, the exit codes whose intercepts are set, what is executed before it, and how the guest differs.

    :param changes: as :func:`harness.lab.guest.guest` takes them, :param having: memory.
    :param catch: exit codes of the exceptions that are intercepted besides.
    :param endless: not to be tried without its intercept: the guest would not come back.
    """

    insn: str
    intercepts: tuple[int, ...] = ()
    before: str = ""
    mode: Mode = Mode.LONG
    changes: Mapping[str, int] = field(default_factory=dict)
    having: Mapping[int, bytes] = field(default_factory=dict)
    catch: tuple[int, ...] = FAULTS
    endless: bool = False

    def guest(self, place: int) -> Guest:
        """The guest, with its code at this place."""
        flat = self.mode.bits != 16
        where = {"rip": place} if flat else {"cs__base": place, "cs__selector": place >> 4 & 0xFFFF}
        it = guest(self.mode, **{**where, "exitcode": NOT_RUN, **self.changes})
        if it.vmcb.cpl == 3 and flat:  # of a user in all respects: not every engine goes by the CPL alone (15.5.1)
            for segment in ("cs", "ss"):
                it.vmcb[f"{segment}.attrib"] |= _USER
        for number in (*self.intercepts, *self.catch):
            _intercept(it.vmcb, number)
        code = assemble(f"{self.before}\n{self.insn}\nvmmcall", self.mode.bits, org=place if flat else 0)
        return it.having({place: code, **self.having})

    @property
    def offset(self) -> int:
        """Where the instruction is, from where the guest begins."""
        return len(assemble(self.before, self.mode.bits)) if self.before else 0


def tried(
    insn: str,
    *intercepts: int,
    before: str = "",
    mode: Mode = Mode.LONG,
    having: Mapping[int, bytes] | None = None,
    catch: tuple[int, ...] = FAULTS,
    endless: bool = False,
    **changes: int,
) -> Try:
    """A :class:`Try`."""
    return Try(insn, intercepts, before, mode, changes, having or {}, catch, endless)


def _intercept(vmcb: Draft, code: int) -> None:
    """The exit code of an intercept is the number of its bit (SVM-C-001)."""
    vmcb.put(code // 8, bytes((vmcb.data[code // 8] | 1 << code % 8,)))


class Tries:
    """Tries by name: each with its intercepts, and after all of these each without."""

    def __init__(self, tries: Mapping[str, Try], *first: Step) -> None:
        self._tries, self._first = dict(tries), first
        self._without = {without(name): name for name, it in tries.items() if it.intercepts and not it.endless}
        self._tries |= {other: replace(tries[name], intercepts=()) for other, name in self._without.items()}

    @property
    def programs(self) -> dict[str, Program]:
        """All of them in one program, after the steps that come first."""
        guests = {name: it.guest(_CODES + n * places.PAGE) for n, (name, it) in enumerate(self._tries.items())}
        return {"": vmruns(guests, first=self._first)}

    def exit(self, ran: Seen, code: int, *names: str) -> None:
        """Each exits with that code, at its instruction."""
        self.come_to(ran, dict.fromkeys(names, code))
        for name in names:
            seen = ran.vmrun(name)
            assert seen.after.rip == seen.before.rip + self._tries[name].offset, f"{name}: RIP={seen.after.rip:#x}"

    def come_to(self, ran: Seen, expected: Mapping[str, int]) -> None:
        """Each ends with its exit code."""
        seen = {name: _named(code) for name, code in exit_codes(ran, expected).items()}
        assert seen == {name: _named(code) for name, code in expected.items()}

    def length(self, name: str) -> int:
        """How many bytes the instruction has."""
        it = self._tries[name]
        return len(assemble(it.insn, it.mode.bits))

    def need_their_intercepts(self, ran: Seen) -> None:
        """Without its intercepts none ends with the exit code of one."""
        codes = exit_codes(ran, self._without)
        assert NOT_RUN not in codes.values(), "VMRUN did nothing"
        seen = {
            name: _named(code) for name, code in codes.items() if code in self._tries[self._without[name]].intercepts
        }
        assert not seen


def without(name: str) -> str:
    """What the same without its intercepts is called."""
    return f"{name}, not intercepted"


def _named(code: int | str) -> str:
    return code if isinstance(code, str) else exits.name(code)
