"""Where the instructions of an exit are: the debugger steps through one of each reason, and functions are counted.

It takes a millisecond an instruction, and sees reasons only that come twice among the first few hundred exits.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from harness.boot import Boot, Insn
from harness.engines.base import Engine
from harness.engines.qemu import Qemu
from harness.errors import SvmconfError
from harness.hypervisors.manifest import Manifest
from harness.machine.base import Debugger, Memory, Point, Stop
from harness.machine.image import Image
from harness.machine.vmcb import Vmcb
from harness.trace.passage import Passage
from harness.trace.tally import reason

Functions = Counter[str]
"""Instructions by function, from the one behind VMRUN to the next VMRUN, both included; REP counts once."""

_VMRUN = Insn.VMRUN.opcodes[0]
_TAKEN = 2
"""Which exit of each reason is stepped through: the first may have something to set up."""
_STOPS, _STEPS, _SECONDS = 400, 20_000, 300.0
_PAGE = 0x1000
_SHOWN = 6


def functions(engine: Engine, manifest: Manifest, boot: Boot, cpu: str) -> dict[str, Functions]:
    """By reason, where one exit's instructions are.

    Raises :class:`SvmconfError` on an engine that is no QEMU with TCG.
    """
    if not isinstance(engine, Qemu) or engine.accelerator != "tcg":
        raise SvmconfError(f"{engine.name} cannot be stepped through for this", "--engine tcg")
    image = Image.load(manifest.image)
    slowly = boot.model_copy(update={"seconds": _SECONDS})
    with (
        tempfile.TemporaryDirectory(prefix="svmconf-") as folder,
        engine.watched(manifest, slowly, cpu, None, Path(folder)) as machine,
    ):
        stepper = _Stepper(machine.debugger, image, machine.ram)
        machine.run(stepper.handle, over=lambda: "enough was seen" if stepper.stops >= _STOPS else None)
    return stepper.found


class _Stepper:
    """Stops at every #VMEXIT; steps through those that are wanted."""

    def __init__(self, debugger: Debugger, image: Image, ram: Memory) -> None:
        self.found: dict[str, Functions] = {}
        self.stops = 0
        self._taken: Counter[str] = Counter()
        self._debugger = debugger
        self._image = image
        self._ram = ram
        self._vmruns = frozenset(image.find(_VMRUN))
        for vmrun in self._vmruns:
            debugger.insert(Point.HARDWARE, vmrun + len(_VMRUN))

    def handle(self, _: Stop) -> None:
        """One #VMEXIT."""
        why = self._reason()
        self.stops += 1
        self._taken[why] += 1
        if self._taken[why] != _TAKEN:
            self._debugger.step()  # off the breakpoint
        elif (stepped := self._step()) is not None:
            self.found[why] = stepped
        self._debugger.resume()

    def _reason(self) -> str:
        rax = self._debugger.register("rax")
        try:
            after = Vmcb(self._ram.read(rax, _PAGE))
        except ValueError:
            after = None
        return reason(Passage(number=0, cpu=0, behind=0, after=after, came_back=True))

    def _step(self) -> Functions | None:
        """To the next VMRUN; ``None`` when there is none within so many steps."""
        counted: Functions = Counter()
        rip = self._debugger.register("rip")
        self._debugger.remove(Point.HARDWARE, rip)
        for _ in range(_STEPS):
            self._debugger.step()
            now = self._debugger.register("rip")
            if now != rip:  # else it is a round of REP, or QEMU looked for interrupts instead of stepping
                counted[self._function(rip)] += 1
            rip = now
            if rip in self._vmruns:
                counted[self._function(rip)] += 1
                self._debugger.insert(Point.HARDWARE, rip + len(_VMRUN))
                return counted
        return None

    def _function(self, rip: int) -> str:
        return self._image.symbol_at(rip).rpartition("+")[0] or "without a name"


def lines(found: dict[str, Functions]) -> Iterator[str]:
    """A line for each reason: how many instructions, and the functions that have most of them."""
    for why, counted in found.items():
        shown = ", ".join(f"{name} {count:,}" for name, count in counted.most_common(_SHOWN))
        rest = counted.total() - sum(count for _, count in counted.most_common(_SHOWN))
        yield f"{why} {counted.total():,}: {shown}" + (f", others {rest:,}" if rest else "")
