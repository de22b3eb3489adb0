"""Programs as an image that boots, and what one boot of it left.

The probe finds its programs in its own image, in the last section that is loaded:
:meth:`Payload.image` puts them there.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from harness.boot import Fault
from harness.errors import ImageError
from harness.lab import wire
from harness.lab.program import Program
from harness.machine.ending import Ending
from harness.machine.image import Image

SECTION, RESULTS, STEP_CODE = ".svmconf.program", ".svmconf.results", "svmconf_step_code"

LOW_STEP_CODE = 0x8000
"""Where the code of a step in real mode or virtual-8086 mode begins; that of others begins at :data:`STEP_CODE`."""

MEMORY = 64
"""MiB of RAM that the probe needs."""

_MULTIBOOT_MAGIC = b"\x02\xb0\xad\x1b"
_LOAD_END = 20
_E_PHOFF, _E_SHOFF, _E_PHENTSIZE, _E_SHNUM = 32, 40, 54, 60
_P_OFFSET, _P_FILESZ = 8, 32


@dataclass(frozen=True)
class Payload:
    """Programs for one boot, to be run from number ``first`` on; seeded defects of the engine.

    :param seconds: how long all of it may take.
    :param patience: how long one step may, where its progress can be seen from outside; as long as all when absent.
    """

    batch: wire.Batch
    first: int = 0
    faults: tuple[Fault, ...] = ()
    seconds: float = 10.0
    patience: float | None = None

    @classmethod
    def of(cls, program: Program) -> Payload:
        """One program alone."""
        batch = wire.Batch()
        batch.add(program)
        return cls(batch, faults=program.faults, seconds=program.seconds, patience=program.seconds / 2)

    @property
    def programs(self) -> list[Program]:
        """All programs of the batch."""
        return self.batch.programs

    def tampered(self, step_code: int) -> set[int]:
        """The addresses of all instructions in steps that the seeded defects may be about.

        :param step_code: where step code begins above 1 MiB.
        """
        steps = [step for program in self.programs for step in program.steps]
        wanted = {opcode for fault in self.faults for opcode in fault.insn.opcodes}
        return {
            (LOW_STEP_CODE if step.mode.low else step_code) + found.start()
            for step in steps
            for opcode in wanted
            for found in re.finditer(re.escape(opcode), step.code)
        }

    def image(self, probe: Image, copy: Path) -> Image:
        """A copy of the probe's image that carries the programs; raise :class:`ImageError` when they do not fit."""
        carried = self.batch.encoded(self.first, spread=len(self.programs) > 1 and not self.faults)
        if len(carried) > wire.MOST:
            raise ImageError(f"programs of {len(carried)} bytes: one boot takes {wire.MOST}")
        copy.write_bytes(carrying(probe, carried))
        return Image(copy)


def carrying(probe: Image, carried: bytes) -> bytes:
    """The probe's ELF file with other content in its program section, which ends the file: no section headers then."""
    address, _, offset = probe.section(SECTION)
    data = bytearray(probe.data[:offset]) + carried
    end = address + len(carried)
    header = data.index(_MULTIBOOT_MAGIC)
    struct.pack_into("<I", data, header + _LOAD_END, end)
    struct.pack_into("<Q", data, _E_SHOFF, 0)
    struct.pack_into("<HH", data, _E_SHNUM, 0, 0)
    (table,) = struct.unpack_from("<Q", data, _E_PHOFF)
    size, count = struct.unpack_from("<HH", data, _E_PHENTSIZE)
    for at in range(table, table + size * count, size):
        kind, start, length = *struct.unpack_from("<I", data, at), *struct.unpack_from("<Q", data, at + _P_OFFSET), 0
        (length,) = struct.unpack_from("<Q", data, at + _P_FILESZ)
        if kind == 1 and start <= offset < start + length:
            struct.pack_into("<QQ", data, at + _P_FILESZ, len(data) - start, len(data) - start)
            return bytes(data)
    raise ImageError(f"{probe.path}: no segment holds {SECTION}")


class Left(BaseModel):
    """What one boot of a payload left: how the machine ended, and the probe's results as bytes.

    :param answers: the layer that answered each step, of one program alone, where the engine can tell.
    """

    model_config = ConfigDict(frozen=True)

    engine: str
    engine_version: str
    cpu: str
    command: list[str]
    ended: Ending
    results: bytes
    console: str = ""
    seconds: float = 0.0
    boot_seconds: float = 0.0
    layers: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()

    @property
    def head(self) -> wire.Head | None:
        """The results' header; ``None`` when the probe never came so far."""
        return wire.Head.of(self.results) if self.results else None

    def programs(self) -> Iterator[wire.Result]:
        """What the probe left of each program, the one that did not end included."""
        head = self.head
        if head is not None:
            yield from wire.results(self.results[wire.RESULTS_HEAD : head.used])
