"""Every Bochs that is fetched: how machines end there, that all is seen, and that nothing is left behind."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from conformance.enabling.test_svmdis import FIRMWARE
from conformance.vmrun.guests import long_mode, runs
from harness import paths
from harness.boot import Boot, Insn
from harness.deadline import Deadline
from harness.engines.bochs import Bochs
from harness.errors import EngineError, SvmconfError
from harness.hypervisors import manifest as manifests
from harness.hypervisors.manifest import Manifest
from harness.lab import runner
from harness.machine.base import Point, Stop
from harness.machine.bochs.machine import BochsMachine
from harness.machine.bochs.rom import Preset, rom
from harness.machine.ending import How
from harness.machine.handoff import multiboot1
from harness.machine.image import Image
from harness.model.registers import Cr0
from harness.msr import Msr
from harness.observation import Observation

pytestmark = pytest.mark.engines

IMAGES = Path(__file__).parent / "images"
CPU = "ryzen"

Assemble = Callable[[str], Path]
Booting = Callable[..., Observation]


@pytest.fixture(scope="module", params=["bochs-2.6", "bochs-2.7", "bochs-3.0", "bochs-3.1"])
def bochs(request: pytest.FixtureRequest) -> Bochs:
    try:
        return Bochs(request.param)
    except SvmconfError as error:
        pytest.skip(str(error))


@pytest.fixture
def boot(bochs: Bochs, assemble: Assemble, tmp_path: Path) -> Booting:
    """Boots one of the small images, or the instructions given."""

    def run(name: str, code: str = "", seconds: float = 5.0) -> Observation:
        image = assembled(code, tmp_path) if code else assemble(name)
        made = Manifest(name=name, image=image, seconds=seconds, memory=32)
        return bochs.observe(made, Boot(), CPU, tmp_path)

    return run


def assembled(code: str, folder: Path) -> Path:
    source, target = folder / "code.asm", folder / "code.bin"
    source.write_text(f'%include "multiboot.inc"\n{code}\nfinish\n')
    subprocess.run(["nasm", "-w+all", "-w+error", "-fbin", f"-i{IMAGES}/", "-o", target, source], check=True)
    return target


def started(bochs: Bochs, image: Path, folder: Path, *presets: Preset, seconds: float = 5.0) -> BochsMachine:
    content = rom(multiboot1(Image(image), "", 32), presets)
    return BochsMachine(dataclasses.replace(bochs.setup(CPU, 32), rom=content), folder, Deadline.after(seconds))


# How it ends


def test_exit_code(boot: Booting) -> None:
    seen = boot("exits")
    assert (seen.ended.how, seen.ended.code) == (How.EXITED, 0x2A)
    assert seen.final is not None and seen.final["cs"] == 8 and seen.final["rax"] & 0xFF == 0x2A


def test_exit_code_written_by_way_of_dx(boot: Booting) -> None:
    """No breakpoint sees that coming: the log tells."""
    seen = boot("dx", "mov eax, 0x12345\nmov edx, EXIT\nout dx, eax\ncli\nhlt")
    assert (seen.ended.how, seen.ended.code) == (How.EXITED, 0x45)
    assert seen.final is not None and seen.final["rdx"] == 0xF4


def test_triple_fault_can_be_looked_at(boot: Booting) -> None:
    seen = boot("triple")
    assert seen.ended.how is How.TRIPLE_FAULT
    assert 0x100000 <= seen.ended.rips[0] < 0x101000
    assert seen.final is not None and seen.final.rip == seen.ended.rips[0]


@pytest.mark.parametrize(
    "way", ["mov al, 0xFE\nout 0x64, al", "mov al, 1\nout 0x92, al", "mov edx, 0xCF9\nmov al, 6\nout dx, al"]
)
def test_reset_does_not_start_the_image_again(boot: Booting, way: str) -> None:
    seen = boot("resets", f"mov al, 'x'\nout E9, al\n{way}\ncli\nhlt")
    assert seen.ended.how is How.RESET
    assert seen.console == "x"


def test_switched_off(boot: Booting) -> None:
    spelled = "".join(f"mov al, '{letter}'\nout dx, al\n" for letter in "Shutdown")
    assert boot("off", f"mov edx, 0x8900\n{spelled}cli\nhlt").ended.how is How.SHUTDOWN


def test_halt_is_seen_long_before_the_deadline(boot: Booting) -> None:
    seen = boot("halts", seconds=30)
    assert seen.ended.how is How.HALTED
    assert seen.seconds < 10
    assert seen.final is not None and 0x100000 <= seen.final.rip < 0x101000


def test_hang_is_sampled(boot: Booting) -> None:
    seen = boot("hangs", seconds=1.0)
    assert seen.ended.how is How.HUNG
    assert all(0x100000 <= rip < 0x101000 for rip in seen.ended.rips) and seen.ended.rips
    assert seen.final is not None and 0x100000 <= seen.final.rip < 0x101000


def test_flood_is_cut_off(boot: Booting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.machine.bochs.machine.CONSOLE_LIMIT", 1 << 14)
    seen = boot("floods", seconds=30)
    assert seen.ended.how is How.HUNG
    assert "printed more than" in seen.ended.detail
    assert seen.final is not None, "it stops even while it prints"


def test_a_panic_of_bochs_is_no_verdict_on_the_software(bochs: Bochs, tmp_path: Path) -> None:
    if not (paths.IMAGES / "probe.elf").is_file():
        pytest.skip("the probe is not built: svmconf build")
    program = runs({"PE clear": long_mode(cr0=Cr0.PG | Cr0.ET)})[""]
    seen = runner.run(bochs, program, CPU, tmp_path)
    assert seen.ended.how is How.ENGINE_CRASHED
    assert "[CPU0] change_cpu_mode" in seen.ended.detail
    assert len(seen.steps) == 3 and seen.under_way == 4, "memory can still be read"


def test_engine_that_dies(bochs: Bochs, assemble: Assemble, tmp_path: Path) -> None:
    with started(bochs, assemble("hangs"), tmp_path) as machine:
        timer = threading.Timer(0.3, os.kill, (machine.debugger.pid, signal.SIGSEGV))
        timer.start()
        ended = machine.run(lambda stop: None)
        timer.join()
        assert ended.how is How.ENGINE_CRASHED and "signal 11" in ended.detail
        assert machine.ram.read(0x100000, 4) == bytes(4)


def test_engine_that_does_not_start(bochs: Bochs, tmp_path: Path) -> None:
    setup = dataclasses.replace(bochs.setup(CPU, 32), model="no-such-model")
    with pytest.raises(EngineError, match=r"did not start: .*cpu directive malformed"):
        BochsMachine(setup, tmp_path, Deadline.after(5))


def test_firmware_that_the_processor_refuses(bochs: Bochs, assemble: Assemble, tmp_path: Path) -> None:
    """A reserved bit of an MSR that every model has: #GP, and that without an IDT."""
    with (
        started(bochs, assemble("hangs"), tmp_path, Preset(Msr.EFER, 1 << 63)) as machine,
        pytest.raises(EngineError, match="what our firmware does"),
    ):
        machine.run(lambda stop: None)


# What is seen


def test_every_instruction_is_traced_also_next_to_another(boot: Booting) -> None:
    code = "xor eax, eax\ncpuid\ncpuid\nmov ecx, 0xC0000080\nrdmsr\nrdmsr\nwrmsr\nrdmsr\nmov al, 1\nout EXIT, al\nhlt"
    trace = boot("neighbours", code).trace
    assert [e.insn for e in trace] == [Insn.CPUID, Insn.CPUID, Insn.RDMSR, Insn.RDMSR, Insn.WRMSR, Insn.RDMSR]
    assert all(e.after["rip"] == e.before["rip"] + 2 for e in trace)


def test_console_by_debug_port_and_serial_port(boot: Booting) -> None:
    """COM1 is a UART: it has to be set up, and takes its time."""
    code = textwrap.dedent("""
        mov     edx, COM1 + 3
        mov     al, 3
        out     dx, al
        mov     al, 'e'
        out     E9, al
        mov     edx, COM1
        mov     al, 's'
        out     dx, al
        mov     al, 1
        out     EXIT, al
        cli
        hlt
    """)
    assert boot("prints", code).console == "e\ns"


def test_watched_page(bochs: Bochs, assemble: Assemble, tmp_path: Path) -> None:
    image = assembled(
        "mov eax, [0x200ffc]\nmov [0x200000], eax\nmov [0x201000], eax\nmov al, 1\nout EXIT, al\nhlt", tmp_path
    )
    touched: list[int | None] = []
    with started(bochs, image, tmp_path) as machine:
        machine.debugger.insert(Point.ACCESS, 0x200000, 0x1000)

        def note(stop: Stop) -> None:
            touched.append(stop.watched)
            machine.debugger.resume()

        assert machine.run(note).code == 1
    assert touched == [0x200FFC, 0x200000]


def test_svmdis_is_real_where_there_is_a_vm_cr(bochs: Bochs, tmp_path: Path) -> None:
    manifest = manifests.load("svmconf")
    if not manifest.image.is_file():
        pytest.skip("the hypervisor is not built: svmconf build")
    for boot in FIRMWARE:
        seen = bochs.observe(manifest, boot, CPU, tmp_path)
        assert seen.outcome == "refused.svm-disabled-by-firmware"
        real = [fault.insn for fault in seen.arranged]
        assert real == ([Insn.RDMSR] if bochs.version >= "3" else [])
        tampered = {event.insn for event in seen.trace if event.tampered}
        assert tampered == {Insn.CPUID} | ({Insn.RDMSR} - set(real))


def test_models_and_what_cannot_be_changed(bochs: Bochs) -> None:
    models = bochs.cpu_models()
    assert [models[name].npt for name in bochs.default_cpus] == [True, False]
    assert all(models[name].svm for name in bochs.default_cpus)
    assert not any(models[name].amd or models[name].svm for name in bochs.foreign_cpus)
    assert models["athlon64_clawhammer"].amd and not models["athlon64_clawhammer"].svm
    with pytest.raises(SvmconfError, match="no CPU model 'EPYC'"):
        bochs.cpu("EPYC")
    with pytest.raises(SvmconfError, match="cannot make '-npt' of 'ryzen'"):
        bochs.cpu("ryzen,-npt")
    if bochs.version >= "3":
        assert not bochs.cpu("ryzen,-svm").svm
    else:
        with pytest.raises(SvmconfError, match="cannot make '-svm'"):
            bochs.cpu("ryzen,-svm")


# That nothing is left


def test_several_at_once(bochs: Bochs, assemble: Assemble, tmp_path: Path) -> None:
    def run(number: int) -> int | None:
        folder = tmp_path / str(number)
        folder.mkdir()
        manifest = Manifest(name="x", image=assemble("exits"), seconds=20, memory=32)
        return bochs.observe(manifest, Boot(), CPU, folder).ended.code

    assemble("exits")
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(run, range(3))) == [0x2A] * 3


def test_sigkill_to_the_harness_leaves_no_engine(bochs: Bochs, assemble: Assemble, tmp_path: Path) -> None:
    script = textwrap.dedent(f"""
        import pathlib
        from harness.boot import Boot
        from harness.engines.bochs import Bochs
        from harness.hypervisors.manifest import Manifest
        from harness.machine.bochs import machine
        child = machine.Child
        class Telling(child):
            def __init__(self, *a, **k):
                super().__init__(*a, **k)
                print(self.pid, flush=True)
        machine.Child = Telling
        Bochs({bochs.name!r}).observe(
            Manifest(name="x", image={str(assemble("hangs"))!r}, memory=32, seconds=60), Boot(), {CPU!r},
            pathlib.Path({str(tmp_path)!r}))
    """)
    harness = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert harness.stdout is not None
    engine = Path(f"/proc/{int(harness.stdout.readline())}")
    assert engine.exists()
    harness.send_signal(signal.SIGKILL)
    harness.wait()
    harness.stdout.close()
    for _ in range(100):
        if not engine.exists() or "Z" in (engine / "stat").read_text().rpartition(")")[2][:3]:
            return
        time.sleep(0.05)
    os.kill(int(engine.name), signal.SIGKILL)
    pytest.fail("Bochs outlived the harness")
