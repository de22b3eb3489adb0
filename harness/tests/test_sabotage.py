"""A seeded defect of the engine reaches an instruction wherever in a step it is, and in whatever mode."""

from pathlib import Path

import pytest

from harness import build
from harness.boot import Fault, Insn
from harness.engines.qemu import Qemu
from harness.lab import runner
from harness.lab.program import Program, StepMode
from harness.lab.steps import code
from harness.machine.sabotage import Turns


@pytest.mark.parametrize("mode", [m for m in StepMode if m.cpls[0] == 0])
def test_an_instruction_amid_a_step_does_nothing(mode: StepMode, qemu: Qemu, tmp_path: Path) -> None:
    build.probe()
    steps = (code("mov esi, eax\ncpuid\nmov edi, 1", mode=mode, rbx=5),)
    whole = runner.run(qemu, Program(steps=steps), "EPYC", tmp_path)
    broken = runner.run(qemu, Program(steps=steps, faults=(Fault(insn=Insn.CPUID, skip=True),)), "EPYC", tmp_path)
    assert whole[0].registers["rbx"] == int.from_bytes(b"Auth", "little")
    assert broken[0].registers["rbx"] == 5
    assert whole[0].registers["rdi"] == broken[0].registers["rdi"] == 1


def test_faults_take_turns() -> None:
    """One that waits for a write counts from then on; the first that is due is told."""
    first, later = Fault(insn=Insn.RDMSR, select=1), Fault(insn=Insn.RDMSR, select=1, since=2)
    turns = Turns((later, first))
    read, write = {"rax": 0, "rcx": 1}, {"rax": 0, "rcx": 2}
    assert turns.next(Insn.RDMSR, read) is first
    assert turns.next(Insn.WRMSR, write) is None
    assert turns.next(Insn.RDMSR, read) is later
    spared = Turns((first.model_copy(update={"spare": 1}),))
    assert [spared.next(Insn.RDMSR, read) is None for _ in range(3)] == [True, False, False]
    assert first.lasts((first,)) and not first.lasts((first, later))
