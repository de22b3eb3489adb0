"""Guest-physical memory, read through the debugger while the machine stands."""

from __future__ import annotations

from itertools import groupby

from harness.errors import DeadlineExceeded, EngineError, ProtocolError
from harness.machine.bochs.debugger import BochsDebugger

_GRAIN = 256


class BochsMemory:
    """Memory of ``size`` bytes. What was read is remembered until the machine goes on.

    When Bochs is gone it is as it was last read, and zero where it never was: good enough to say how far the software
    came, and the observation says that the engine broke.
    """

    live = False

    def __init__(self, size: int, debugger: BochsDebugger) -> None:
        self.size = size
        self._debugger = debugger
        self._grains: dict[int, bytes] = {}
        self._moves = -1
        self._last: dict[int, bytes] = {}

    def read(self, address: int, size: int) -> bytes:
        """``size`` bytes at a physical address; raise :class:`ValueError` outside RAM."""
        if not 0 <= address <= self.size - size:
            raise ValueError(f"{address:#x}+{size:#x} is outside RAM of {self.size:#x} bytes")
        if self._moves != self._debugger.moves:
            self._last |= self._grains
            self._grains, self._moves = {}, self._debugger.moves
        first, behind = address // _GRAIN, -(-(address + size) // _GRAIN)
        try:
            self._fetch([n for n in range(first, behind) if n not in self._grains])
        except (EngineError, DeadlineExceeded, ProtocolError):
            self._grains = {**self._last, **self._grains}
        data = b"".join(self._grains.get(n, bytes(_GRAIN)) for n in range(first, behind))
        return data[address - first * _GRAIN :][:size]

    def write(self, address: int, data: bytes) -> None:
        """Put bytes at a physical address; raise :class:`ValueError` outside RAM."""
        if not 0 <= address <= self.size - len(data):
            raise ValueError(f"{address:#x}+{len(data):#x} is outside RAM of {self.size:#x} bytes")
        self._debugger.put(address, data)
        self._moves = -1

    def _fetch(self, missing: list[int]) -> None:
        for _, neighbours in groupby(enumerate(missing), lambda pair: pair[1] - pair[0]):
            numbers = [number for _, number in neighbours]
            data = self._debugger.memory(numbers[0] * _GRAIN, len(numbers) * _GRAIN)
            for place, number in enumerate(numbers):
                self._grains[number] = data[place * _GRAIN : (place + 1) * _GRAIN]
