"""A domain's memory: read and written in L0's RAM, through the nested page tables that Xen gave it."""

from __future__ import annotations

import bisect
import os
from collections.abc import Iterator

from harness.errors import EngineError
from harness.machine.pagewalk import Mapping, merged, reach
from harness.machine.ram import Ram
from harness.machine.registers import EFER_LMA, Registers
from harness.machine.vmcb import Vmcb

_CR4_PAE = 1 << 5
_XEN = Registers(values={"efer": EFER_LMA, "cr4": _CR4_PAE})
"""What matters of Xen's own state: its nested tables have the format of its paging mode."""


class DomainMemory:
    """Guest-physical memory of the domain from 0 to ``size`` bytes; live, and still there when the machine has ended.

    ``vmcb`` is the L0-physical address of the VMCB with which Xen runs the domain. Raises :class:`EngineError` when
    part of the memory is mapped nowhere. Xen gives a domain its memory when it creates it and does not move it.
    """

    live = True

    def __init__(self, ram: Ram, vmcb: int, size: int) -> None:
        self.size = size
        self._ram = ram
        try:
            found = reach(Vmcb(ram.read(vmcb, 0x1000)), _XEN, ram.read).mappings
        except ValueError as error:
            raise EngineError(f"the domain's memory cannot be found: {error}") from error
        self._mappings = [mapping for mapping in merged(found) if mapping.guest < size]
        self._starts = [mapping.guest for mapping in self._mappings]
        end = 0
        for mapping in self._mappings:
            if mapping.guest > end:
                break
            end = mapping.guest + mapping.size
        if end < size:
            raise EngineError(f"the domain has no memory at {end:#x}")

    def read(self, address: int, size: int) -> bytes:
        """``size`` bytes at a physical address; raise :class:`ValueError` outside RAM."""
        return b"".join(self._ram.read(at, length) for at, length in self._places(address, size))

    def write(self, address: int, data: bytes) -> None:
        """Put bytes at a physical address; raise :class:`ValueError` outside RAM.

        L0 does not notice, so the domain must not have executed what stood there.
        """
        done = 0
        for at, length in self._places(address, len(data)):
            os.pwrite(self._ram.descriptor, data[done : done + length], at)
            done += length

    def _places(self, address: int, size: int) -> Iterator[tuple[int, int]]:
        """Where in L0's RAM these bytes are, piece by piece: (address, length)."""
        if not 0 <= address <= self.size - size:
            raise ValueError(f"{address:#x}+{size:#x} is outside RAM of {self.size:#x} bytes")
        while size:
            mapping: Mapping = self._mappings[bisect.bisect_right(self._starts, address) - 1]
            offset = address - mapping.guest
            length = min(size, mapping.size - offset)
            yield mapping.host + offset, length
            address, size = address + length, size - length
