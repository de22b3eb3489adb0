"""Guests that switch tasks in 32-bit protected mode (vol. 2, 12.3): each has tables of its own, with two tasks.

The host loads TR by VMLOAD, and gets its own state back after the #VMEXIT, by VMLOAD too; meanwhile VMSAVE tells the
guest's TR.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from conformance.descriptors import descriptor
from conformance.exception_intercepts.guests import NP, TS
from conformance.intercepts.tried import GP, PF, UD, Changes, tried
from conformance.vmrun.visits import Visit
from harness.lab import places
from harness.lab.assemble import assemble
from harness.lab.guest import Mode
from harness.lab.vmcb import Draft
from harness.machine.vmcb import FIELDS

CODE, DATA, FIRST, OTHER, GATE, BUSY, SHORT, ABSENT, LDT, ABSENT_GATE = range(8, 0x58, 8)
"""Selectors: flat code and data; TSSs of the task that runs, of another, and of one that is busy; a task gate to the
other; TSSs that are too short, and not present; an LDT; a task gate to the TSS that is not present."""

VECTOR, ARRIVED = 0x80, 0x7A5C
"""The vector of INTn and of the virtual interrupt; what the other task leaves in EBX."""

_PLACES, _SIZE = places.DATA + 0x40_0000, 0x6000
_IDT, _FIRST, _OTHER, _STATE, _CODE = (n * places.PAGE for n in range(1, 6))
_HOST = places.DATA
_LIMIT = 0x67
_THERE = assemble(f"mov ebx, {ARRIVED:#x}\nvmmcall", 32)
_EDGE = 0x3E0
"""Where the code of the first task ends the page, behind which the other's begins."""


@dataclass(frozen=True)
class Tasks:
    """The tables of one guest.

    :param ldt: the LDT of the other task.
    """

    number: int
    ldt: int = 0

    @property
    def at(self) -> int:
        """Where they begin: the GDT."""
        return _PLACES + self.number * _SIZE

    @property
    def watched(self) -> dict[int, int]:
        """The GDT, both TSSs, and what is known of TR."""
        tr = self.at + _STATE + FIELDS["tr.selector"].offset
        return {self.at: 0x100, self.at + _FIRST: 0x68, self.at + _OTHER: 0x68, tr: 16}

    def visit(
        self, insn: str, *intercepts: int, catch: Iterable[int] = (UD, TS, NP, GP, PF), before: str = "", **changes: int
    ) -> Visit:
        """The guest that tries this instruction, which may lead to the other task."""
        at = self.at
        fields: Changes = {
            "gdtr__base": at, "gdtr__limit": 0x57, "idtr__base": at + _IDT, "idtr__limit": 0x7FF,
            "cs__selector": CODE, "ss__selector": DATA, "ds__selector": DATA, "es__selector": DATA,
        }  # fmt: skip
        it = tried(
            insn, *intercepts, mode=Mode.PAGED, catch=tuple(catch), before=before, having=self._memory(),
            **fields | changes,
        )  # fmt: skip
        return Visit(
            it.guest(at + _CODE),
            before=f"mov eax, {_HOST:#x}\nvmsave\nmov eax, {at + _STATE:#x}\nvmload",
            after=f"mov eax, {at + _STATE:#x}\nvmsave\nmov eax, {_HOST:#x}\nvmload",
        )

    def _memory(self) -> dict[int, bytes]:
        at = self.at
        state = Draft(tr__selector=FIRST, tr__base=at + _FIRST, tr__limit=_LIMIT, tr__attrib=0x8B)
        gates = {6: OTHER, 13: OTHER, VECTOR: OTHER}
        idt = b"".join(_gate(gates[vector]) if vector in gates else bytes(8) for vector in range(256))
        return {
            at: self._gdt(), at + _IDT: idt, at + _FIRST: _tss(BUSY, 0), at + _OTHER: self._other(),
            at + _STATE: state.data, at + _CODE + _EDGE: _THERE,
        }  # fmt: skip

    def _gdt(self) -> bytes:
        at = self.at
        return b"".join(
            (
                bytes(8),
                descriptor(0xC, 0x9B, 0xFFFFF),
                descriptor(0xC, 0x93, 0xFFFFF),
                descriptor(0, 0x8B, _LIMIT, at + _FIRST),
                descriptor(0, 0x89, _LIMIT, at + _OTHER),
                _gate(OTHER),
                descriptor(0, 0x8B, _LIMIT, at + _OTHER),
                descriptor(0, 0x89, _LIMIT - 1, at + _OTHER),
                descriptor(0, 0x09, _LIMIT, at + _OTHER),
                descriptor(0, 0x82, 7, at),
                _gate(ABSENT),
            )
        )

    def _other(self) -> bytes:
        return _tss(0, self.at + _CODE + _EDGE, self.ldt)


def _gate(tss: int) -> bytes:
    return descriptor(0, 0x85, 0, tss)


def _tss(link: int, eip: int, ldt: int = 0) -> bytes:
    """Link, CR3, EIP, EFLAGS, the general registers, the segments, the LDT."""
    registers = [0] * 4 + [places.STACK] + [0] * 3
    segments = (DATA, CODE, DATA, DATA, 0, 0, ldt)
    return struct.pack(
        "<I6I3I8I7II", link, *[0] * 6, places.TWO_LEVEL_TABLES, eip, 2, *registers, *segments, _LIMIT << 16
    )
