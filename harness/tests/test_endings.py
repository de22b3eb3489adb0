"""Every way a machine can end is told from the others, and nothing hangs or is left behind."""

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

from harness.boot import Boot
from harness.engines.qemu import Qemu
from harness.errors import EngineError
from harness.hypervisors.manifest import Manifest
from harness.machine.ending import How
from harness.observation import Observation

Booting = Callable[..., Observation]


def test_exit_code(boot: Booting) -> None:
    seen = boot("exits")
    assert (seen.ended.how, seen.ended.code) == (How.EXITED, 0x2A)
    assert seen.final is not None and seen.final["cs"] == 8


def test_refused_is_told_by_the_manifest(boot: Booting) -> None:
    seen = boot("exits", outcome=[{"name": "refused.no-svm", "exit": 0x2A}])
    assert (seen.ended.how, seen.outcome) == (How.REFUSED, "refused.no-svm")


def test_triple_fault_names_its_address(boot: Booting) -> None:
    seen = boot("triple")
    assert seen.ended.how is How.TRIPLE_FAULT
    assert 0x100000 <= seen.ended.rips[0] < 0x101000


def test_reset(boot: Booting) -> None:
    assert boot("resets").ended.how is How.RESET


def test_halt_is_seen_long_before_the_deadline(boot: Booting) -> None:
    seen = boot("halts", seconds=30)
    assert seen.ended.how is How.HALTED
    assert seen.seconds < 10


def test_hang_is_sampled(boot: Booting) -> None:
    seen = boot("hangs", seconds=1.0)
    assert seen.ended.how is How.HUNG
    assert all(0x100000 <= rip < 0x101000 for rip in seen.ended.rips)
    assert seen.final is not None and 0x100000 <= seen.final.rip < 0x101000


def test_flood_is_cut_off(boot: Booting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.machine.qemu.CONSOLE_LIMIT", 1 << 18)
    seen = boot("floods", seconds=60)
    assert seen.ended.how is How.HUNG
    assert "printed more than" in seen.ended.detail
    assert len(seen.console) < 1 << 18


def test_engine_that_refuses_its_command_line(qemu: Qemu, tmp_path: Path, assemble: Callable[[str], Path]) -> None:
    manifest = Manifest(name="x", image=assemble("exits"), memory=32)
    with pytest.raises(EngineError, match=r"did not start.*no-such-model"):
        qemu.observe(manifest, Boot(), "no-such-model", tmp_path)


def test_engine_that_dies(qemu: Qemu, tmp_path: Path, assemble: Callable[[str], Path]) -> None:
    """A killed engine is an engine crash, not a verdict on the software."""
    script = textwrap.dedent(f"""
        import os, pathlib, signal, threading
        from harness.boot import Boot
        from harness.engines.qemu import Qemu
        from harness.hypervisors.manifest import Manifest
        from harness.machine import qemu as machine
        child = machine.Child
        class Doomed(child):
            def __init__(self, *a, **k):
                super().__init__(*a, **k)
                threading.Timer(0.6, lambda: os.kill(self.pid, signal.SIGSEGV)).start()
        machine.Child = Doomed
        q = Qemu.of_system({qemu.argv[-1]!r})
        seen = q.observe(Manifest(name="x", image={str(assemble("hangs"))!r}, memory=32, seconds=20), Boot(), "EPYC",
                         pathlib.Path({str(tmp_path)!r}))
        print(seen.ended.how, "|", seen.ended.detail)
    """)
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert said.stdout.startswith("engine crashed | "), said
    assert "signal 11" in said.stdout


def test_sigkill_to_the_harness_leaves_no_engine(assemble: Callable[[str], Path], qemu: Qemu, tmp_path: Path) -> None:
    script = textwrap.dedent(f"""
        import pathlib
        from harness.boot import Boot
        from harness.engines.qemu import Qemu
        from harness.hypervisors.manifest import Manifest
        from harness.machine import qemu as machine
        child = machine.Child
        class Telling(child):
            def __init__(self, *a, **k):
                super().__init__(*a, **k)
                print(self.pid, flush=True)
        machine.Child = Telling
        Qemu.of_system({qemu.argv[-1]!r}).observe(
            Manifest(name="x", image={str(assemble("hangs"))!r}, memory=32, seconds=60), Boot(), "EPYC",
            pathlib.Path({str(tmp_path)!r}))
    """)
    harness = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert harness.stdout is not None
    engine = int(harness.stdout.readline())
    assert Path(f"/proc/{engine}").exists()
    harness.send_signal(signal.SIGKILL)
    harness.wait()
    harness.stdout.close()
    for _ in range(100):
        if not _alive(engine):
            return
        time.sleep(0.05)
    os.kill(engine, signal.SIGKILL)
    pytest.fail("QEMU outlived the harness")


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
