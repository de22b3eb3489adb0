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


class Turns:
    """Which of some faults it is the turn of, as their instructions are executed one after another."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self._faults = faults
        self._met: Counter[int] = Counter()
        self._written: set[int] = set()

    def next(self, insn: Insn, registers: dict[str, int]) -> Fault | None:
        """The first that applies to this execution; to be asked once for each, of whatever instruction."""
        due = []
        for number, fault in enumerate(self._faults):
            if fault.applies(insn, registers) and (fault.since is None or fault.since in self._written):
                self._met[number] += 1
                due += [fault] if self._met[number] > fault.spare else []
        if insn is Insn.WRMSR:
            self._written.add(registers["rcx"] & 0xFFFF_FFFF)
        return due[0] if due else None


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
        self._turns = Turns(faults)
        for place in places:
            debugger.insert(Point.HARDWARE, place)

    def handle(self, stop: Stop) -> None:
        """Tamper, and let the machine run on."""
        registers = self._debugger.registers()
        rip = registers["rip"]
        at = next((base + rip for base in self._bases if base + rip in self._places), rip)
        code = self._ram.read(at, 3) if at + 3 <= self._ram.size else b""
        insn = next((insn for insn in Insn if code.startswith(insn.opcodes)), None)
        fault = self._turns.next(insn, registers) if insn else None
        if insn is not None and fault is not None and fault.skip:
            self._debugger.write_register("rip", rip + len(insn.opcodes[0]))
        else:
            self._debugger.step()
            if fault is not None:
                lie(self._debugger, fault)
        self._debugger.resume()
