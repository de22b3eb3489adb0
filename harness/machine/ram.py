"""The guest's physical memory, mapped from the file that the engine shares with us."""

from __future__ import annotations

import mmap
import os
import struct
from types import TracebackType


class Ram:
    """Guest-physical memory below the end of RAM; readable while the machine runs and after it ended.

    Addresses are guest-physical, sizes in bytes. Reading beyond the end raises :class:`ValueError`.

    It is a file without a name, so that nothing of it is left however we end; an engine that inherits ``descriptor``
    opens it as ``/proc/self/fd/N``.
    """

    live = True

    def __init__(self, size: int) -> None:
        self.size = size
        self.descriptor = os.memfd_create("svmconf-ram")
        os.ftruncate(self.descriptor, size)
        self._map = mmap.mmap(self.descriptor, size)

    def read(self, address: int, size: int) -> bytes:
        """``size`` bytes at a physical address."""
        if not 0 <= address <= self.size - size:
            raise ValueError(f"{address:#x}+{size:#x} is outside RAM of {self.size:#x} bytes")
        return self._map[address : address + size]

    def write(self, address: int, data: bytes) -> None:
        """Put bytes at a physical address. An engine that translates does not notice: they must be no code."""
        if not 0 <= address <= self.size - len(data):
            raise ValueError(f"{address:#x}+{len(data):#x} is outside RAM of {self.size:#x} bytes")
        self._map[address : address + len(data)] = data

    def u64(self, address: int) -> int:
        """The little-endian 64-bit number at a physical address."""
        return int(struct.unpack("<Q", self.read(address, 8))[0])

    def __enter__(self) -> Ram:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._map.close()
        os.close(self.descriptor)
