"""Where in L0's RAM Xen keeps what we need to know of the domain.

Offsets in Xen's structures differ from build to build, so none is used: the places are found by what stands there,
while the domain does what :mod:`harness.machine.xen.parking` says. Addresses are L0-physical.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict

from harness.errors import EngineError
from harness.machine.ram import Ram
from harness.machine.vmcb import FIELDS, MISC2_VMRUN, NP_ENABLE, Vmcb

PORTS = (0xE9, 0xF4, *range(0x3F8, 0x400))
"""Debug console, exit port, COM1: L0's own devices, which the domain reaches without Xen (docs/protocol.md)."""

_PAGE = 0x1000
_ADDRESS = 0x000F_FFFF_FFFF_F000
_CHUNK = 4 << 20


class Found(BaseModel):
    """What was found.

    ``vmcb`` is the VMCB with which Xen runs the domain (not its nested guests), ``efer`` the domain's own EFER (the
    VMCB's has SVME set always), ``vmrun`` the linear address of Xen's VMRUN, ``mapped`` where the entry for it
    in each of Xen's root page tables leads.
    """

    model_config = ConfigDict(frozen=True)

    vmcb: int
    efer: int
    vmrun: int
    mapped: int

    def of_xen(self, ram: Ram, cr3: int) -> bool:
        """Whether this CR3 is Xen's or paravirtual dom0's: the tables there map Xen, as a domain's own never do."""
        root = cr3 & _ADDRESS
        return root + _PAGE <= ram.size and leads_to(ram, root, self.vmrun) == self.mapped


def leads_to(ram: Ram, root: int, linear: int) -> int:
    """Where the root page table's entry for a linear address leads."""
    return ram.u64(root + 8 * (linear >> 39 & 0x1FF)) & _ADDRESS


class EferHunt:
    """Finds the domain's EFER: the one place that held each of the values when it was looked at.

    ``look`` is called once for each value. Wherever else a value may stand for a while (a register saved on the stack,
    rAX in the VMCB), it does not at all of these moments.
    """

    def __init__(self, ram: Ram) -> None:
        self._ram = ram
        self._places: set[int] | None = None

    def look(self, value: int) -> None:
        """The domain's EFER is ``value`` now."""
        if self._places is None:
            self._places = set(_find(self._ram, struct.pack("<Q", value)))
        else:
            self._places = {place for place in self._places if self._ram.u64(place) == value}

    @property
    def place(self) -> int:
        """The address; raise :class:`EngineError` unless there is exactly one."""
        places = sorted(self._places or ())
        if len(places) != 1:
            raise EngineError(f"the domain's EFER was not found in Xen's memory: {[hex(place) for place in places]}")
        return places[0]


def find_vmcb(ram: Ram, code: int) -> int:
    """The VMCB of the domain, which executes in the page of ``code`` now; raise :class:`EngineError` unless it is one.

    Xen intercepts VMRUN, gives an ASID and uses nested paging.
    """
    places = [at for at, page in _pages(ram) if _runs(page, code)]
    if len(places) != 1:
        raise EngineError(f"the domain's VMCB was not found in Xen's memory: {[hex(place) for place in places]}")
    return places[0]


def open_ports(ram: Ram, vmcb: int) -> None:
    """Let the domain reach :data:`PORTS` without an exit, as an owner of the devices would: in Xen's I/O bitmap."""
    bitmap = Vmcb(ram.read(vmcb, _PAGE)).iopm_base
    for port in PORTS:
        at = bitmap + port // 8
        os.pwrite(ram.descriptor, bytes((ram.read(at, 1)[0] & ~(1 << port % 8) & 0xFF,)), at)


def _runs(page: bytes, code: int) -> bool:
    def field(name: str) -> int:
        where = FIELDS[name]
        return int.from_bytes(page[where.offset : where.offset + where.size], "little")

    return bool(
        field("rip") & ~(_PAGE - 1) == code
        and field("intercept_misc2") & MISC2_VMRUN
        and field("nested_control") & NP_ENABLE
        and field("guest_asid")
        and field("n_cr3")
    )


def _find(ram: Ram, pattern: bytes) -> Iterator[int]:
    """Every address divisible by 8 where the 8 bytes stand."""
    for start, data in _chunks(ram):
        at = data.find(pattern)
        while at >= 0:
            if at % 8 == 0:
                yield start + at
            at = data.find(pattern, at + 1)


def _pages(ram: Ram) -> Iterator[tuple[int, bytes]]:
    for start, data in _chunks(ram):
        for at in range(0, len(data), _PAGE):
            yield start + at, data[at : at + _PAGE]


def _chunks(ram: Ram) -> Iterator[tuple[int, bytes]]:
    """All of RAM that was ever written, in pieces."""
    for start, end in extents(ram.descriptor):
        for at in range(start, end, _CHUNK):
            yield at, ram.read(at, min(_CHUNK, end - at))


def extents(descriptor: int) -> Iterator[tuple[int, int]]:
    """Where a file has data, from page to page: (start, end) of each run; the rest is holes."""
    end = 0
    while True:
        try:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
        except OSError:  # nothing but a hole up to the end
            return
        end = os.lseek(descriptor, start, os.SEEK_HOLE)
        yield start, end
