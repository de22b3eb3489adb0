"""The lab on a real engine: modes, faults, guests, batches that survive what hangs, sessions."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from harness import build, paths
from harness.engines.qemu import Qemu
from harness.errors import SvmconfError
from harness.lab import places, runner, show
from harness.lab.guest import Mode, guest
from harness.lab.program import Program, StepMode
from harness.lab.programs import program, vmruns
from harness.lab.session import Session, Several, as_program
from harness.lab.steps import code, cpuid, enable_svm
from harness.machine.ending import How
from harness.model import exits

UD, PF = 6, 14


@pytest.fixture(autouse=True)
def probe() -> None:
    build.probe()


@pytest.mark.parametrize("mode", StepMode)
def test_every_mode_and_privilege_level(mode: StepMode, qemu: Qemu, tmp_path: Path) -> None:
    """Code runs to its end in it, and a fault in it is caught with its place."""
    steps = [
        step for cpl in mode.cpls for step in (code("mov ax, 0x1234", mode=mode, cpl=cpl),
                                               code("nop\nud2", mode=mode, cpl=cpl))
    ]  # fmt: skip
    seen = runner.run(qemu, Program(steps=tuple(steps)), "EPYC", tmp_path)
    assert [step.vector for step in seen.steps] == [None, UD] * len(mode.cpls)
    assert {step.registers["rax"] & 0xFFFF for step in seen.steps[::2]} == {0x1234}
    assert {step.rip for step in seen.steps[1::2]} == {1}


def test_a_page_fault_tells_its_address(qemu: Qemu, tmp_path: Path) -> None:
    seen = runner.run(qemu, Program(steps=(code("mov rax, [rbx]", rbx=0x2_0000_0000),)), "EPYC", tmp_path)
    assert (seen[0].vector, seen[0].cr2, seen[0].rip) == (PF, 0x2_0000_0000, 0)


@pytest.mark.parametrize("mode", Mode)
def test_legal_guests_run_in_every_mode(mode: Mode, qemu: Qemu, tmp_path: Path) -> None:
    """And leave what they wrote in memory that is watched."""
    wide = mode.bits != 16
    source = f"mov byte [{places.DATA:#x}], 5\nmov ecx, 7\nvmmcall" if wide else "mov ecx, 7\nvmmcall"
    ran = vmruns(guest(mode, source)).model_copy(update={"watches": {places.VMCBS: 0x1000, places.DATA: 8}})
    seen = runner.run(qemu, ran, "EPYC", tmp_path)
    assert seen.vmrun().exit == exits.VMMCALL
    assert seen.vmrun().step.registers["rcx"] == 7
    assert seen.memory(places.DATA, 1, after=len(seen.steps) - 1) == (b"\5" if wide else b"\0")


def test_the_vmcb_is_seen_before_and_after(qemu: Qemu, tmp_path: Path) -> None:
    seen = runner.run(qemu, vmruns({"one": guest(), "two": guest(guest_asid=0)}), "EPYC", tmp_path)
    one, two = seen.vmruns()
    assert one.before.exitcode == 0 and one.after.exitcode == exits.VMMCALL
    assert one.after.guest_asid == 1 and two.refused
    assert "exitcode" in one.changed()


def test_a_batch_goes_on_after_what_ends_the_machine(qemu: Qemu) -> None:
    """A triple fault is told of its program and its step; before and after it all is as if it were alone."""
    well = vmruns(guest())
    triple = program(*enable_svm(), code("lidt [rsp-16]\nud2", rsp=places.STACK))
    done = list(runner.run_all(qemu, [well, triple, well, triple, triple, well], "EPYC"))
    assert [one.number for one in done] == list(range(6))
    ends = [one.ended.how for one in done]
    assert ends == [How.EXITED, How.TRIPLE_FAULT, How.EXITED, How.TRIPLE_FAULT, How.TRIPLE_FAULT, How.EXITED]
    assert [len(one.steps()) for one in done] == [3, 2, 3, 2, 2, 3]
    assert done[1].under_way == 3
    assert done[0].steps() == done[2].steps() == done[5].steps()


def test_a_batch_goes_on_after_a_hang(qemu: Qemu) -> None:
    hang = Program(steps=(cpuid(0), code("jmp $")))
    first, second, third = runner.run_all(qemu, [cpuid_only(), hang, cpuid_only()], "EPYC")
    assert (first.ended.how, second.ended.how, third.ended.how) == (How.EXITED, How.HUNG, How.EXITED)
    assert (len(second.steps()), second.under_way) == (1, 2)


def cpuid_only() -> Program:
    return Program(steps=(cpuid(0),))


def test_programs_of_a_batch_leave_nothing_behind(qemu: Qemu) -> None:
    """SVM that one enabled is off in the next."""
    asks = Program(steps=(code("mov ecx, 0xC0000080\nrdmsr"), code("vmmcall")))
    dirty = program(*enable_svm(), code("mov rax, cr4\nbts rax, 7\nmov cr4, rax"))
    alone, _, again = runner.run_all(qemu, [asks, dirty, asks], "EPYC")
    assert alone.steps() == again.steps()
    assert alone.steps()[1].vector == UD


# Sessions


@pytest.fixture
def session(qemu: Qemu) -> Iterator[Session]:
    yield Session({"one": qemu, "two": qemu})


def test_several_engines_side_by_side(session: Session) -> None:
    seen = session.run(guest(guest_asid=0))
    assert isinstance(seen, Several)
    assert str(seen) == "one, two: the same"
    alone = session.on("two").run(cpuid(0))
    assert not isinstance(alone, Several)
    assert "cpuid at CPL 0 rax=0x0" in show.text(alone)
    with pytest.raises(SvmconfError, match="not open: three"):
        session.on("three")


def test_where_they_differ_is_shown(session: Session) -> None:
    seen = session.run([cpuid(0), code("ud2")])
    assert isinstance(seen, Several)
    one = seen["one"]
    other = one.steps[1].model_copy(update={"vector": None})
    seen["two"] = one.model_copy(update={"steps": [one.steps[0], other]})
    assert str(seen).splitlines()[1:] == ["    one: #UD, error code 0x0, at +0x0", "    two: ran"]


def test_what_runs() -> None:
    assert len(as_program(guest()).steps) == 3
    assert as_program([cpuid(0), cpuid(1)]).steps[1].registers == {"rax": 1, "rcx": 0}


def test_a_person_tries_a_guest() -> None:
    command = [sys.executable, "-m", "harness.cli", "lab", "--engine", "tcg"]
    child = pexpect.spawn(command[0], command[1:], cwd=str(paths.ROOT), encoding="utf-8", timeout=120, echo=False)
    try:
        child.expect("Ctrl-D leaves")
        child.sendline("run(guest(guest_asid=0)).vmrun().refused")
        child.expect("True")
        child.sendline("exit")
        child.expect(pexpect.EOF)
    finally:
        child.close(force=True)


def test_a_script(tmp_path: Path) -> None:
    script = tmp_path / "it.py"
    script.write_text("print(run(guest()).vmrun().exit == exits.VMMCALL)")
    command = [sys.executable, "-m", "harness.cli", "lab", str(script), "--engine", "tcg"]
    done = subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True, timeout=120)
    assert (done.stdout.strip(), done.returncode) == ("True", 0), done.stderr
