"""KVM inside TCG: what it can be configured to be, every way a machine ends there, and nothing left behind."""

from __future__ import annotations

import os
import random
import signal
import struct
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness import build
from harness.boot import Boot, Fault, Insn
from harness.engines.kvm_in_tcg import KvmInTcg, arrange
from harness.engines.store import EngineMissing
from harness.errors import ImageError, SvmconfError
from harness.hypervisors.manifest import Manifest
from harness.hypervisors.ours import our_manifest
from harness.lab import runner
from harness.lab.program import Program
from harness.lab.steps import cpuid, execute, rdmsr, wrmsr
from harness.machine.ending import How
from harness.machine.l1.wire import CpuidChange
from harness.msr import Msr
from harness.observation import Observation

NAME = "kvm-6.12"

Booting = Callable[..., Observation]


@pytest.fixture(scope="module")
def kvm() -> Iterator[KvmInTcg]:
    try:
        engine = KvmInTcg(NAME)
    except EngineMissing as error:
        pytest.skip(str(error))
    yield engine
    engine.close()


@pytest.fixture
def boot(kvm: KvmInTcg, assemble: Callable[[str], Path], tmp_path: Path) -> Booting:
    """Boots one of the small images."""

    def run(name: str, seconds: float = 5.0, **manifest: object) -> Observation:
        made = Manifest(name=name, image=assemble(name), seconds=seconds, memory=32, **manifest)
        return kvm.observe(made, Boot(), "EPYC", tmp_path)

    return run


@pytest.fixture(scope="module")
def ours() -> Manifest:
    return our_manifest()


def vm_cr(value: int) -> Fault:
    return Fault(insn=Insn.RDMSR, select=Msr.VM_CR, force={"rax": (value, ~value & 0xFFFF_FFFF)})


# What can be real


def test_cpuid_and_vm_cr_can_be_arranged() -> None:
    no_svm = Fault(insn=Insn.CPUID, select=0x8000_0001, force={"rcx": (0, 4)})
    changes, msrs, real = arrange([no_svm, vm_cr(0x18)])
    assert changes == [CpuidChange(0x8000_0001, "ecx", keep=0xFFFF_FFFB)]
    assert msrs == {Msr.VM_CR: 0x18}
    assert real == (no_svm, vm_cr(0x18))


@pytest.mark.parametrize(
    "fault",
    [
        Fault(insn=Insn.CPUID, force={"rcx": (0, 4)}),
        Fault(insn=Insn.CPUID, select=0x8000_0001, force={"rcx": (0, 4)}, spare=1),
        Fault(insn=Insn.RDMSR, select=Msr.EFER, force={"rax": (0, 1 << 12)}),
        Fault(insn=Insn.WRMSR, select=Msr.VM_HSAVE_PA, skip=True),
        vm_cr(1 << 9),
    ],
    ids=["every leaf", "not the first time", "EFER", "an instruction that does nothing", "a reserved bit"],
)
def test_the_rest_is_left_to_the_debugger(fault: Fault) -> None:
    assert arrange([fault]) == ([], {}, ())


def test_processor_models(kvm: KvmInTcg) -> None:
    assert set(kvm.default_cpus) | set(kvm.foreign_cpus) <= set(kvm.cpu_models())
    assert [kvm.cpu(spec).npt for spec in kvm.default_cpus] == [True, False]
    assert not kvm.cpu("EPYC,-svm").svm
    assert kvm.cpu("EPYC,-npt,-svm").name == "EPYC,-svm"
    assert not kvm.cpu("Intel").amd
    assert all(kvm.cpu(name) == model for name, model in kvm.cpu_models().items())
    for spec in ("Opteron", "EPYC,-sse", "Intel,+svm"):
        with pytest.raises(SvmconfError):
            kvm.cpu(spec)


def test_the_processor_is_what_its_model_says(kvm: KvmInTcg, tmp_path: Path) -> None:
    build.probe()
    program = Program(steps=(cpuid(0), cpuid(0x8000_0001), cpuid(0x8000_000A), wrmsr(Msr.EFER, 0x1500)))
    for spec in ("EPYC", "EPYC,-npt", "EPYC,-svm", "Intel"):
        model = kvm.cpu(spec)
        seen = runner.run(kvm, program, spec, tmp_path)
        vendor = b"".join(seen[0].registers[name].to_bytes(4, "little") for name in ("rbx", "rdx", "rcx"))
        assert vendor.decode() == model.vendor
        assert bool(seen[1].registers["rcx"] & 4) == model.svm
        assert bool(seen[2].registers["rdx"] & 1) == model.npt
        assert (seen[3].vector is None) == model.svm  # KVM takes EFER.SVME only where its guest has SVM


def test_svmdis_is_real(kvm: KvmInTcg, ours: Manifest, tmp_path: Path) -> None:
    seen = kvm.observe(ours, Boot(guest="hello", faults=(vm_cr(0x10),)), "EPYC", tmp_path)
    assert seen.outcome == "refused.svm-disabled-with-key" or seen.outcome == "refused.svm-disabled-by-firmware"
    assert seen.arranged == (vm_cr(0x10),)
    assert not any(event.tampered for event in seen.trace)
    assert [e.returned for e in seen.executed(Insn.RDMSR) if e.msr == Msr.VM_CR] == [0x10]


# Who answered


def test_each_step_says_who_answered(kvm: KvmInTcg, tmp_path: Path) -> None:
    build.probe()
    nop = execute(Insn.CPUID).model_copy(update={"code": b"\x90"})
    seen = runner.run(kvm, Program(steps=(rdmsr(Msr.EFER), nop, cpuid(0))), "EPYC", tmp_path)
    assert [step.answered_by for step in seen.steps] == ["KVM", "TCG", "KVM"]
    assert seen.layers[0].endswith("answered 2 of 3 watched instructions, the layer below 1")


@pytest.mark.slow
@pytest.mark.engines
def test_what_kvm_leaves_to_the_processor_is_answered_below(kvm: KvmInTcg, ours: Manifest, tmp_path: Path) -> None:
    """L0's model ``max`` has virtual GIF, so that KVM need not see STGI and CLGI."""
    seen = kvm.observe(ours, Boot(guest="hello"), "max", tmp_path)
    assert seen.outcome == "guest-finished"
    assert {event.answered_by for event in seen.executed(Insn.STGI, Insn.CLGI)} == {"TCG"}
    assert {event.answered_by for event in seen.executed(Insn.VMRUN, Insn.RDMSR)} == {"KVM"}


def test_a_hypervisor_is_watched_to_its_end(kvm: KvmInTcg, ours: Manifest, tmp_path: Path) -> None:
    seen = kvm.observe(ours, Boot(guest="hello"), "EPYC", tmp_path)
    assert seen.outcome == "guest-finished"
    assert seen.guest_ran and seen.witness["HELLO"].value == 16
    assert seen.final is not None and seen.final.svme
    assert seen.host is not None and seen.host.tables["idt"][1] == 0xFFF
    assert {event.answered_by for event in seen.trace} == {"KVM"}
    assert not seen.damage and seen.records


def test_an_instruction_can_be_lied_about(kvm: KvmInTcg, ours: Manifest, tmp_path: Path) -> None:
    fault = Fault(insn=Insn.RDMSR, select=Msr.EFER, force={"rax": (0, 1 << 12)})
    seen = kvm.observe(ours, Boot(guest="hello", faults=(fault,)), "EPYC", tmp_path)
    assert seen.outcome == "refused.efer-svme"
    assert seen.arranged == ()
    assert any(event.tampered for event in seen.trace)


def test_a_step_can_be_sabotaged(kvm: KvmInTcg, tmp_path: Path) -> None:
    build.probe()
    faults = (Fault(insn=Insn.RDMSR, select=Msr.EFER, force={"rdx": (0xABC, 0)}),)
    seen = runner.run(kvm, Program(steps=(rdmsr(Msr.EFER), cpuid(0)), faults=faults), "EPYC", tmp_path)
    assert seen[0].value >> 32 == 0xABC
    assert seen[1].vector is None


# How machines end


def test_exit_code(boot: Booting) -> None:
    seen = boot("exits")
    assert (seen.ended.how, seen.ended.code) == (How.EXITED, 0x2A)
    assert seen.final is not None and seen.final["cs"] == 8


def test_triple_fault(boot: Booting) -> None:
    seen = boot("triple")
    assert seen.ended.how is How.TRIPLE_FAULT
    assert seen.final is None  # KVM has reset the processor by then


def test_reset(boot: Booting) -> None:
    assert boot("resets").ended.how is How.RESET


def test_halt_is_seen_long_before_the_deadline(boot: Booting) -> None:
    seen = boot("halts", seconds=30)
    assert seen.ended.how is How.HALTED
    assert seen.seconds < 10


def test_hang_with_interrupts_off_is_sampled(boot: Booting) -> None:
    seen = boot("hangs", seconds=0.5)
    assert seen.ended.how is How.HUNG
    assert seen.ended.rips and all(0x100000 <= rip < 0x101000 for rip in seen.ended.rips)
    assert seen.final is not None and 0x100000 <= seen.final.rip < 0x101000


def test_flood_is_cut_off(boot: Booting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.machine.l1.wire.CONSOLE_LIMIT", 1 << 16)
    seen = boot("floods", seconds=60)
    assert seen.ended.how is How.HUNG
    assert "printed more than" in seen.ended.detail
    assert seen.console


def test_what_is_watched_too_often_is_watched_no_longer(boot: Booting) -> None:
    seen = boot("asks", seconds=1.0)
    assert seen.ended.how is How.HUNG
    assert len(seen.trace) == 64 and seen.trace_cut


def test_a_strangers_console_tells_the_end(boot: Booting) -> None:
    outcome = [{"name": "ready", "console": "SVM is on"}]
    seen = boot("foreign", outcome=outcome, seconds=20)
    assert (seen.ended.how, seen.outcome) == (How.EXITED, "ready") or seen.ended.how is How.HALTED
    assert "myvisor: SVM is on" in seen.console
    assert seen.wrote(Msr.VM_HSAVE_PA)


def test_garbage_is_no_image(kvm: KvmInTcg, tmp_path: Path) -> None:
    path = tmp_path / "garbage"
    path.write_bytes(random.Random(1).randbytes(5000))
    with pytest.raises(ImageError):
        kvm.observe(Manifest(name="garbage", image=path, memory=32), Boot(), "EPYC", tmp_path)


def test_garbage_that_is_executed_ends_somehow_and_the_next_one_runs(
    kvm: KvmInTcg, tmp_path: Path, boot: Booting
) -> None:
    head = struct.pack("<8I", 0x1BADB002, 0x10000, 0xE4514FFE, 0x100000, 0x100000, 0, 0, 0x100020)
    for seed in range(4):
        path = tmp_path / f"garbage{seed}"
        path.write_bytes(head + random.Random(seed).randbytes(5000))
        seen = kvm.observe(Manifest(name="garbage", image=path, memory=32, seconds=2), Boot(), "EPYC", tmp_path)
        assert seen.ended.how is not How.HARNESS_ERROR
    assert boot("exits").ended.code == 0x2A


# L1 itself


def strike_soon(kvm: KvmInTcg, times: int, blow: signal.Signals = signal.SIGKILL) -> threading.Thread:
    """Sends a signal to the L1 that runs, and to as many that replace it."""

    def work() -> None:
        last = 0
        for _ in range(times):
            until = time.monotonic() + 60
            while time.monotonic() < until:
                l1 = kvm._host()._l1
                if l1 is not None and l1.child.pid != last:
                    last = l1.child.pid
                    time.sleep(0.7)
                    os.kill(last, blow)
                    break
                time.sleep(0.02)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


@pytest.mark.slow
@pytest.mark.engines
def test_an_l1_that_dies_is_replaced_and_the_job_done_again(kvm: KvmInTcg, boot: Booting) -> None:
    boot("exits")
    killer = strike_soon(kvm, 1)
    seen = boot("hangs", seconds=2.0)
    killer.join()
    assert seen.ended.how is How.HUNG and "still running" in seen.ended.detail
    assert boot("exits").ended.code == 0x2A


@pytest.mark.slow
@pytest.mark.engines
def test_a_job_that_kills_every_l1_is_given_up(kvm: KvmInTcg, boot: Booting) -> None:
    boot("exits")  # else two threads ask for the first L1, and each gets its own
    killer = strike_soon(kvm, 2)
    seen = boot("hangs", seconds=3.0)
    killer.join()
    assert seen.ended.how is How.ENGINE_CRASHED
    assert "L1 ended" in seen.ended.detail
    assert boot("exits").ended.code == 0x2A


@pytest.mark.slow
@pytest.mark.engines
def test_an_l1_that_hangs_is_replaced(kvm: KvmInTcg, boot: Booting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.machine.l1.host._GRACE", 1.0)
    boot("exits")
    l1 = kvm._host()._l1
    assert l1 is not None
    os.kill(l1.child.pid, signal.SIGSTOP)
    assert boot("exits", seconds=2.0).ended.code == 0x2A


@pytest.mark.slow
@pytest.mark.engines
def test_an_l1_that_hangs_while_it_is_watched_is_no_hang_of_the_software(
    kvm: KvmInTcg, boot: Booting, monkeypatch: pytest.MonkeyPatch
) -> None:
    for patience in ("gdb.PATIENCE", "l1.machine._PATIENCE"):
        monkeypatch.setattr(f"harness.machine.{patience}", 1.0)
    monkeypatch.setattr("harness.machine.l1.host._GRACE", 1.0)
    boot("exits")
    striker = strike_soon(kvm, 2, signal.SIGSTOP)
    seen = boot("asks", seconds=1.0)
    striker.join()
    assert seen.ended.how is How.ENGINE_CRASHED
    assert boot("exits").ended.code == 0x2A


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_nothing_outlives_an_interrupted_process(
    end: signal.Signals, kvm: KvmInTcg, assemble: Callable[[str], Path], tmp_path: Path
) -> None:
    script = textwrap.dedent(f"""
        import threading, time
        from pathlib import Path
        from harness.boot import Boot
        from harness.engines.kvm_in_tcg import KvmInTcg
        from harness.hypervisors.manifest import Manifest
        kvm = KvmInTcg({NAME!r})
        host = kvm._host()
        def tell():
            while host._l1 is None:
                time.sleep(0.01)
            print(host._l1.child.pid, flush=True)
        threading.Thread(target=tell, daemon=True).start()
        image = Path({str(assemble("hangs"))!r})
        kvm.observe(Manifest(name="x", image=image, memory=32, seconds=60), Boot(), "EPYC", Path({str(tmp_path)!r}))
    """)
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        time.sleep(0.5)
        process.send_signal(end)
        process.communicate(timeout=20)
    until = time.monotonic() + 5
    while (status := Path(f"/proc/{pid}/status")).exists() and "State:\tZ" not in status.read_text():
        assert time.monotonic() < until, "L0 outlives the process that started it"
        time.sleep(0.05)
