"""A seeded defect of the engine reaches an instruction wherever in a step it is, and in whatever mode."""

from pathlib import Path

import pytest

from harness import build
from harness.boot import Fault, Insn
from harness.engines.qemu import Qemu
from harness.lab import runner
from harness.lab.program import Program, StepMode
from harness.lab.steps import code


@pytest.mark.parametrize("mode", [m for m in StepMode if m.cpls[0] == 0])
def test_an_instruction_amid_a_step_does_nothing(mode: StepMode, qemu: Qemu, tmp_path: Path) -> None:
    build.probe()
    steps = (code("mov esi, eax\ncpuid\nmov edi, 1", mode=mode, rbx=5),)
    whole = runner.run(qemu, Program(steps=steps), "EPYC", tmp_path)
    broken = runner.run(qemu, Program(steps=steps, faults=(Fault(insn=Insn.CPUID, skip=True),)), "EPYC", tmp_path)
    assert whole[0].registers["rbx"] == int.from_bytes(b"Auth", "little")
    assert broken[0].registers["rbx"] == 5
    assert whole[0].registers["rdi"] == broken[0].registers["rdi"] == 1
