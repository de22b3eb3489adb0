"""Makes an engine defective on purpose, so that a case that judges engines can be shown to turn red."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from harness.boot import Fault, Insn
from harness.machine.gdb import Gdb, Point, Stop
from harness.machine.ram import Ram


def lie(gdb: Gdb, fault: Fault) -> None:
    """Force bits in what an instruction has just returned."""
    registers = gdb.registers()
    for name, (on, off) in fault.force.items():
        gdb.write_register(name, (registers[name] & ~off) | on)


class Sabotage:
    """Stops where the probe enters each step, and tampers with the step's first instruction."""

    def __init__(self, gdb: Gdb, ram: Ram, step_code: int, faults: Sequence[Fault]) -> None:
        self._gdb = gdb
        self._ram = ram
        self._faults = faults
        self._met: Counter[Insn] = Counter()
        if faults:
            gdb.insert(Point.HARDWARE, step_code)

    def handle(self, stop: Stop) -> None:
        """Tamper, and let the machine run on."""
        registers = self._gdb.registers()
        rip = registers["rip"]
        code = self._ram.read(rip, 3) if rip + 3 <= self._ram.size else b""
        insn = next((insn for insn in Insn if code.startswith(insn.opcodes)), None)
        fault = next((fault for fault in self._faults if insn and fault.applies(insn, registers)), None)
        if fault is not None:
            self._met[fault.insn] += 1
            if self._met[fault.insn] <= fault.spare:
                fault = None
        if insn is not None and fault is not None and fault.skip:
            self._gdb.write_register("rip", rip + len(insn.opcodes[0]))
        else:
            self._gdb.step()
            if fault is not None:
                lie(self._gdb, fault)
        self._gdb.resume()
