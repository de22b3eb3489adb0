"""Xen for real: every way to end, the trace, faults, watched pages; and nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from conformance.faults import vm_cr
from conformance.vmrun.programs import attempts
from harness.boot import Boot, Insn
from harness.engines import store
from harness.engines.xen import Xen
from harness.errors import SvmconfError
from harness.hypervisors.manifest import Manifest
from harness.hypervisors.ours import our_manifest
from harness.lab import runner
from harness.machine.ending import How
from harness.machine.xen.debugger import TCG, XEN
from harness.machine.xen.dom0 import Domain
from harness.msr import VmCr
from harness.observation import Observation

pytestmark = [pytest.mark.slow, pytest.mark.engines]
NAME = "xen-4.17"
Booting = Callable[..., Observation]


@pytest.fixture(scope="module")
def engine() -> Xen:
    """Xen, booted once and kept in the cache."""
    try:
        return Xen(NAME)
    except store.EngineMissing:
        pytest.skip(f"engine {NAME} is not fetched: svmconf engines fetch {NAME}")


@pytest.fixture
def boot(engine: Xen, assemble: Callable[[str], Path], tmp_path: Path) -> Booting:
    """Boots one of the small images that misbehave."""

    def run(name: str, seconds: float = 5.0, **manifest: object) -> Observation:
        made = Manifest(name=name, image=assemble(name), seconds=seconds, memory=32, **manifest)
        return engine.observe(made, Boot(), "EPYC", tmp_path)

    return run


@pytest.fixture
def ours(engine: Xen, tmp_path: Path) -> Booting:
    """Boots our hypervisor."""
    manifest = our_manifest()

    def run(boot: Boot, cpu: str = "EPYC") -> Observation:
        return engine.observe(manifest, boot, cpu, tmp_path)

    return run


# Ends


def test_exit_code(boot: Booting) -> None:
    seen = boot("exits")
    assert (seen.ended.how, seen.ended.code) == (How.EXITED, 0x2A)
    assert seen.final is not None and 0x100000 <= seen.final.rip < 0x101000


def test_triple_fault_names_its_address(boot: Booting) -> None:
    seen = boot("triple")
    assert seen.ended.how is How.TRIPLE_FAULT
    assert 0x100000 <= seen.ended.rips[0] < 0x101000
    assert seen.final is not None and 0x100000 <= seen.final.rip < 0x101000
    assert "Triple fault" in seen.console  # Xen's own words


def test_halt_is_seen_long_before_the_deadline(boot: Booting) -> None:
    seen = boot("halts", seconds=30)
    assert seen.ended.how is How.HALTED
    assert seen.seconds < 15
    assert seen.final is not None and 0x100000 <= seen.final.rip < 0x101000


def test_hang_is_sampled(boot: Booting) -> None:
    seen = boot("hangs", seconds=1.0)
    assert seen.ended.how is How.HUNG
    assert all(0x100000 <= rip < 0x101000 for rip in seen.ended.rips)
    assert seen.final is not None and 0x100000 <= seen.final.rip < 0x101000


def test_flood_is_cut_off(boot: Booting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.machine.xen.machine.CONSOLE_LIMIT", 1 << 18)
    seen = boot("floods", seconds=60)
    assert seen.ended.how is How.HUNG
    assert "printed more than" in seen.ended.detail


def test_watched_for_ever_it_hangs_all_the_same(boot: Booting) -> None:
    assert boot("asks", seconds=2.0).ended.how is How.HUNG


# What is seen


def test_our_hypervisor_runs_its_guest(ours: Booting) -> None:
    seen = ours(Boot(guest="hello"))
    assert (seen.ended.how, seen.outcome) == (How.EXITED, "guest-finished")
    assert not seen.damage
    assert seen.guest_ran
    assert seen.witness["HELLO"].value == 16
    assert seen.first_svme() is not None
    assert {event.answered_by for event in seen.executed(Insn.CPUID, Insn.VMRUN)} == {XEN}
    assert seen.layers


def test_what_the_domain_sees_is_what_it_was_given(ours: Booting) -> None:
    assert ours(Boot(guest="hello"), "EPYC,-svm").outcome == "refused.no-svm"
    assert ours(Boot(guest="hello"), "GenuineIntel").outcome == "refused.vendor"
    shadow = ours(Boot(guest="hello"), "EPYC,-npt")
    assert shadow.outcome == "guest-finished"
    assert [record.fields["mode"] for record in shadow.of_kind("paging")] == ["shadow"]


def test_a_fault_can_be_injected(ours: Booting) -> None:
    seen = ours(Boot(guest="hello", faults=(vm_cr(VmCr.SVMDIS),)))
    assert seen.outcome == "refused.svm-disabled-by-firmware"
    assert not seen.svm_executed()
    assert seen.final is not None and not seen.final.svme


def test_a_page_can_be_watched(engine: Xen, tmp_path: Path) -> None:
    manifest = our_manifest("hsave-read")
    seen = engine.observe(manifest, Boot(guest="spin", count=200, guard_hsave=True), "EPYC", tmp_path)
    assert seen.guarded is not None
    assert seen.accesses
    assert seen.accesses[0].where.startswith("hypervisor::run")


def test_a_program_says_who_answered(engine: Xen, tmp_path: Path) -> None:
    seen = runner.run(engine, attempts((Insn.VMRUN, Insn.VMLOAD), svme=True, cpl=3), "EPYC", tmp_path)
    assert [step.answered_by for step in seen.steps] == [XEN, XEN, XEN, TCG, TCG]
    assert [step.vector for step in seen.steps] == [None, None, None, 13, 13]


def test_processors(engine: Xen) -> None:
    models = engine.cpu_models()
    assert (models["EPYC"].svm, models["EPYC"].npt, models["EPYC,-npt"].npt) == (True, True, False)
    assert not engine.cpu("EPYC,-svm").svm
    for wrong in ("Skylake", "EPYC,-avx", "GenuineIntel,+svm"):
        with pytest.raises(SvmconfError):
            engine.cpu(wrong)


def test_a_xen_without_nested_svm_says_so(tmp_path: Path) -> None:
    try:
        engine = Xen("xen-4.20")
    except store.EngineMissing:
        pytest.skip("engine xen-4.20 is not fetched: svmconf engines fetch xen-4.20")
    assert "refuses nestedhvm=1: domain creation fail: Invalid argument" in engine.description
    assert not engine.cpu("EPYC").svm
    manifest = our_manifest()
    assert engine.observe(manifest, Boot(), "EPYC", tmp_path).outcome == "refused.no-svm"


# Nothing is left


def test_a_state_of_no_use_is_made_anew(engine: Xen, ours: Booting) -> None:
    ours(Boot(guest="hello"))
    layer = engine._layer(Domain(128, svm=True, npt=True))
    device = layer.state().home / "device"
    whole = device.read_bytes()
    device.write_bytes(whole[: len(whole) // 2])
    assert ours(Boot(guest="hello")).outcome == "guest-finished"
    assert len(layer.state().home.joinpath("device").read_bytes()) > len(whole) // 2


def script(engine: Xen, image: Path, folder: Path, how: str) -> str:
    return textwrap.dedent(f"""
        import os, pathlib, signal, threading
        from harness.boot import Boot
        from harness.engines.xen import Xen
        from harness.hypervisors.manifest import Manifest
        from harness.machine import qemu as machine
        child = machine.Child
        class Watched(child):
            def __init__(self, *a, **k):
                super().__init__(*a, **k)
                {how}
        machine.Child = Watched
        manifest = Manifest(name="x", image={str(image)!r}, memory=32, seconds=60)
        seen = Xen({engine.name!r}).observe(manifest, Boot(), "EPYC", pathlib.Path({str(folder)!r}))
        print(seen.ended.how, "|", seen.ended.detail)
    """)


def test_an_l0_that_dies_is_an_engine_crash(engine: Xen, assemble: Callable[[str], Path], tmp_path: Path) -> None:
    how = "threading.Timer(3.0, lambda: os.kill(self.pid, signal.SIGKILL)).start()"
    code = script(engine, assemble("hangs"), tmp_path, how)
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert said.stdout.startswith("engine crashed | "), said
    assert "signal 9" in said.stdout


def test_sigkill_to_the_harness_leaves_no_l0(engine: Xen, assemble: Callable[[str], Path], tmp_path: Path) -> None:
    code = script(engine, assemble("hangs"), tmp_path, "print(self.pid, flush=True)")
    harness = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert harness.stdout is not None
    l0 = int(harness.stdout.readline())
    time.sleep(1.0)
    assert Path(f"/proc/{l0}").exists()
    harness.send_signal(signal.SIGKILL)
    harness.wait()
    harness.stdout.close()
    for _ in range(100):
        if not _alive(l0):
            return
        time.sleep(0.05)
    os.kill(l0, signal.SIGKILL)
    pytest.fail("L0 outlived the harness")


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
