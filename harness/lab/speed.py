"""How fast the lab is: rows for ``svmconf bench``."""

from __future__ import annotations

import resource
import statistics
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from harness import build
from harness.boot import Boot
from harness.engines.base import Engine
from harness.errors import EngineError
from harness.hypervisors.manifest import Manifest
from harness.lab import places, runner, wire
from harness.lab.guest import Mode, guest
from harness.lab.payload import MEMORY, Payload
from harness.lab.program import Program
from harness.lab.programs import vmruns
from harness.lab.steps import code
from harness.machine.image import Image
from harness.machine.vmcb import FIELDS
from harness.model import exits

_EXIT = struct.pack("<IIQ", 0, FIELDS["exitcode"].offset, exits.VMMCALL)
"""All that may change in the VMCB: the exit code."""


def rows(
    engine: Engine, cpu: str, folder: Path, boots: int = 15, programs: int = 20_000
) -> Iterator[tuple[str, str, str]]:
    """What was measured, the result, the bar."""
    build.probe()
    case, nothing = _cases(engine, cpu, folder, boots)
    yield "a payload that does nothing, bare engine", f"{nothing:.3f} s", ""
    yield "a case: a program of one VMRUN, judged", f"{case:.3f} s", ""
    yield "case / payload that does nothing", f"{case / nothing:.2f}", "1.3"
    yield "VMRUN programs in a batch, VMCB checked", f"{rate(engine, cpu, programs):,.0f} /s a core", "10,000"


def _cases(engine: Engine, cpu: str, folder: Path, boots: int) -> tuple[float, float]:
    """Median seconds of a case and of the engine alone, taken in turns."""
    program = vmruns(guest(Mode.REAL))
    empty = Payload.of(Program(steps=(code("nop"),))).image(Image.load(build.probe()), folder / "empty.elf")
    command = engine.console(Manifest(name="probe", image=empty.path, memory=MEMORY), Boot(), cpu, folder).command

    def case() -> None:
        if runner.run(engine, program, cpu, folder).vmrun().exit != exits.VMMCALL:
            raise EngineError(f"{engine.name} does not run the guest that is measured")

    def alone() -> None:
        quiet = subprocess.DEVNULL
        subprocess.run(command, stdin=quiet, stdout=quiet, stderr=quiet, timeout=120)

    pairs = [(_seconds(case), _seconds(alone)) for _ in range(boots)]
    return statistics.median(one for one, _ in pairs), statistics.median(other for _, other in pairs)


def rate(engine: Engine, cpu: str, count: int) -> float:
    """Programs a second of one processor's time, the engine's and ours together; each has a VMCB of its own.

    Boots are counted in. Raises :class:`EngineError` when a VMCB is not as it must be after its VMRUN.
    """
    base = vmruns(guest(Mode.REAL, "vmmcall\nud2"))  # without its end TCG would translate what lies behind, too
    steps = tuple(s.model_copy(update={"look": s.vmcb is not None, "state": False}) for s in base.steps)
    at = places.VMCBS + FIELDS["tsc_offset"].offset
    programs = (
        Program.model_construct(
            regions={at: number.to_bytes(8, "little")}, watches=base.watches, steps=steps, thorough=False, seconds=10.0
        )
        for number in range(1, count + 1)
    )
    start = _spent()
    wrong = sum(
        wire.changes(one.records[-1]) != _EXIT for one in runner.run_all(engine, programs, cpu, shared=base.regions)
    )
    spent = _spent() - start
    if wrong:
        raise EngineError(f"{engine.name} left {wrong} of {count} VMCBs otherwise than it must")
    return count / spent


def _spent() -> float:
    """Seconds of processor time, ours and that of processes that have ended."""
    of = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in of)


def _seconds(what: Callable[[], object]) -> float:
    start = time.monotonic()
    what()
    return time.monotonic() - start
