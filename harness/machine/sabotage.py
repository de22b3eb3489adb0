"""Makes an engine defective on purpose, so that a case that judges engines can be shown to turn red."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from harness.boot import Fault, Insn
from harness.machine.base import Debugger, Memory, Point, Stop


def lie(debugger: Debugger, fault: Fault) -> None:
    """Force bits in what an instruction has just returned."""
    registers = debugger.registers()
    for name, (on, off) in fault.force.items():
        debugger.write_register(name, (registers[name] & ~off) | on)


class Sabotage:
    """Stops at instructions in the steps of a program, and tampers with them.

    :param places: their addresses, :param bases: where code segments of steps begin, since RIP is relative to that.
    """

    def __init__(
        self, debugger: Debugger, ram: Memory, places: Collection[int], bases: Sequence[int], faults: Sequence[Fault]
    ) -> None:
        self._debugger = debugger
        self._ram = ram
        self._places = places
        self._bases = bases
        self._faults = faults
        self._met: Counter[Insn] = Counter()
        for place in places:
            debugger.insert(Point.HARDWARE, place)

    def handle(self, stop: Stop) -> None:
        """Tamper, and let the machine run on."""
        registers = self._debugger.registers()
        rip = registers["rip"]
        at = next((base + rip for base in self._bases if base + rip in self._places), rip)
        code = self._ram.read(at, 3) if at + 3 <= self._ram.size else b""
        insn = next((insn for insn in Insn if code.startswith(insn.opcodes)), None)
        fault = next((fault for fault in self._faults if insn and fault.applies(insn, registers)), None)
        if fault is not None:
            self._met[fault.insn] += 1
            if self._met[fault.insn] <= fault.spare:
                fault = None
        if insn is not None and fault is not None and fault.skip:
            self._debugger.write_register("rip", rip + len(insn.opcodes[0]))
        else:
            self._debugger.step()
            if fault is not None:
                lie(self._debugger, fault)
        self._debugger.resume()
