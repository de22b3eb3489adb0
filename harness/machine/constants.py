"""Memory of a hypervisor that nothing may change once its first guest runs: looked at then, and again at the end.

Its code and read-only data, by the segments of its image that are not writable; and the two permission maps that the
first VMCB names. (A hypervisor may change its maps, in principle. None that we know does while a guest runs.)
"""

from __future__ import annotations

import hashlib

from harness.machine import msrpm
from harness.machine.base import Memory
from harness.machine.image import Image
from harness.machine.vmcb import Vmcb
from harness.observation import Constant

_IOPM = 0x3000
"""Bytes (15.10.1)."""


class Constants:
    """Remembers hashes. :meth:`first` is called at the first VMRUN; without that there is nothing to compare."""

    def __init__(self, image: Image, ram: Memory) -> None:
        self._image = image
        self._ram = ram
        self._before: dict[tuple[str, int, int], str] = {}

    def first(self, vmcb: bytes | None) -> None:
        """Look for the first time."""
        areas = [("code and constants", start, end - start) for start, end in self._image.constant]
        if vmcb is not None:
            maps = Vmcb(vmcb)
            areas += [("IOPM", maps.iopm_base, _IOPM), ("MSRPM", maps.msrpm_base, msrpm.SIZE)]
        self._before = {area: digest for area in areas if (digest := self._digest(*area[1:]))}

    def last(self) -> list[Constant]:
        """Look again, and say what was there then and now."""
        return [
            Constant(name=name, address=at, size=size, before=before, after=self._digest(at, size))
            for (name, at, size), before in self._before.items()
        ]

    def _digest(self, address: int, size: int) -> str:
        """Empty outside RAM."""
        try:
            return hashlib.sha256(self._ram.read(address, size)).hexdigest()
        except ValueError:
            return ""
