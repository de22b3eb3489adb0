"""Guests that can take events: they have a GDT, an IDT, and a handler for each vector that tells what it found.

A handler leaves its vector in EBX, what is on top of its stack in RCX and RDX, CR2 in RSI, and calls VMMCALL. A guest
that takes no event comes to a VMMCALL of its own with :data:`NOTHING` in EBX.
"""

import struct
from dataclasses import dataclass

from conformance.vmrun.guests import VMMCALL
from harness.lab import places
from harness.lab.assemble import assemble
from harness.lab.guest import Guest, Mode, guest
from harness.lab.seen import Seen
from harness.model.registers import Event

INTERRUPT, NMI, EXCEPTION, SOFTWARE = (Event.V | kind << 8 for kind in (0, 2, 3, 4))
"""EVENTINJ of each type, with vector 0."""

NOTHING = 0x1000
OWN_CODE = f"mov ebx, {NOTHING}\nvmmcall"

_HANDLED = (0, 2, 3, 4, 6, 13, 14, 17, 0x50, 0x80)
_CODE = {Mode.LONG: 0x00AF_9B00_0000_FFFF, Mode.PROTECTED: 0x00CF_9B00_0000_FFFF}
_DATA, _DPL_3 = 0x00CF_9300_0000_FFFF, 3 << 45
_KERNEL_CS, _USER_CS, _USER_SS = 1 << 3, 3 << 3 | 3, 4 << 3 | 3


@dataclass(frozen=True)
class Tables:
    """Descriptor tables and handlers, which run at the guest's own CPL.

    :param at: physical address of three pages for them.
    :param gate_dpl: the DPL of all gates.
    """

    at: int = places.DATA
    mode: Mode = Mode.LONG
    cpl: int = 0
    gate_dpl: int = 0

    def guest(self, eventinj: int, code: str = OWN_CODE, *, vectors: int = 256, **changes: int) -> Guest:
        """A guest that begins with this event.

        :param vectors: how many gates its IDT has.
        """
        gdt, idt = (self.at + n * places.PAGE for n in (1, 2))
        limits = {"gdtr__limit": 39, "idtr__limit": vectors * self._gate_size - 1}
        it = guest(
            self.mode, code, eventinj=eventinj, gdtr__base=gdt, idtr__base=idt, cpl=self.cpl, **limits, **changes
        )
        if self.cpl:
            it.vmcb.update(cs__selector=_USER_CS, ss__selector=_USER_SS)
            it.vmcb.cs.attrib |= self.cpl << 5
            it.vmcb.ss.attrib |= self.cpl << 5
        code_segment = _CODE[self.mode]
        descriptors = (0, code_segment, _DATA, code_segment | _DPL_3, _DATA | _DPL_3)
        return it.having({self.at: self._handlers(), gdt: struct.pack("<5Q", *descriptors), idt: self._idt()})

    @property
    def _gate_size(self) -> int:
        return 16 if self.mode is Mode.LONG else 8

    def _handlers(self) -> bytes:
        """Ten bytes for each vector, then what they share."""
        r, word = ("r", 8) if self.mode is Mode.LONG else ("e", 4)
        starts = "".join(f"mov ebx, {vector}\njmp near tell\n" for vector in _HANDLED)
        tells = f"tell: mov {r}cx, [{r}sp]\nmov {r}dx, [{r}sp + {word}]\n"
        return assemble(
            starts + tells + ("" if self.cpl else f"mov {r}si, cr2\n") + "vmmcall", self.mode.bits, org=self.at
        )

    def _idt(self) -> bytes:
        table = bytearray(256 * self._gate_size)
        access = 0x8E | self.gate_dpl << 5
        for number, vector in enumerate(_HANDLED):
            handler = self.at + 10 * number
            gate = (handler & 0xFFFF, _USER_CS if self.cpl else _KERNEL_CS, 0, access, handler >> 16)
            struct.pack_into("<HHBBH", table, vector * self._gate_size, *gate)
        return bytes(table)


def taken(ran: Seen, name: str) -> int:
    """The vector of the handler that a guest came to, or :data:`NOTHING`."""
    it = ran.vmrun(name)
    assert it.exit == VMMCALL, f"{name}: exit {it.exit if isinstance(it.exit, str) else hex(it.exit)}"
    return it.step.registers["rbx"] & 0xFFFF_FFFF


def pushed(ran: Seen, name: str) -> int:
    """How many words the delivery pushed on the stack."""
    it = ran.vmrun(name)
    return (it.before.rsp - it.after.rsp) // 8
