"""I/O permissions maps for guests, each at a place of its own."""

from __future__ import annotations

from typing import Any

from conformance.intercepts.tried import Try, tried
from harness.lab import places
from harness.lab.guest import Mode
from harness.model.exits import IOIO

SIZE = 0x3000
"""Bytes of a map: a bit for each port, and some behind the last of which an access of several bytes can have need."""

PORT = 0x80
"""A port that no engine has a device at which anything matters."""

_MAPS = places.DATA + 0x80_0000


class Maps:
    """Maps by the ports that they intercept."""

    def __init__(self) -> None:
        self._places: dict[tuple[int, ...], int] = {}

    def tried(self, insn: str, *ports: int, mode: Mode = Mode.LONG, before: str = "", **changes: Any) -> Try:
        """The instruction with the intercept of I/O set, and the map that intercepts these ports."""
        place = _MAPS + SIZE * self._places.setdefault(ports, len(self._places))
        content = bytearray(SIZE)
        for port in ports:
            content[port // 8] |= 1 << port % 8
        return tried(
            insn, IOIO, mode=mode, before=before, having={place: bytes(content)}, iopm_base_pa=place, **changes
        )
