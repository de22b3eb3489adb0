"""``svmconf trace`` on real engines: counts that are known beforehand, strangers' images, a person who stops it."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from harness import build
from harness.boot import Boot, Insn
from harness.engines import select as engines
from harness.engines.qemu import PROBE_IMAGE, Qemu
from harness.errors import SvmconfError
from harness.hypervisors.manifest import Manifest
from harness.hypervisors.ours import our_manifest
from harness.lab.guest import Mode, guest
from harness.lab.payload import Payload
from harness.lab.program import SCRATCH, Program, Step
from harness.lab.steps import enable_svm
from harness.machine.base import Point, Stop
from harness.machine.image import Image
from harness.machine.registers import EFER_SVME
from harness.model import exits
from harness.trace import library, steps
from harness.trace.count import Counted, count, lacks
from harness.trace.listen import listen
from harness.trace.passage import Passage
from harness.trace.tally import NO_EXIT, Spread, reason

pytestmark = pytest.mark.engines

_VMCB = SCRATCH
_ROUNDS = 50

Counting = Callable[..., tuple[Counted, list[Passage]]]


@pytest.fixture(params=["qemu-system", "qemu-10.0", "qemu-11.1"])
def engine(request: pytest.FixtureRequest) -> Qemu:
    """A QEMU of each version of the plugin interface."""
    try:
        found = engines.engine(request.param)
        assert isinstance(found, Qemu)
        if why := lacks(found):
            pytest.skip(why)
        library.build(found.version)
    except SvmconfError as error:
        pytest.skip(str(error))
    return found


@pytest.fixture
def counted(engine: Qemu) -> Counting:
    def run(manifest: Manifest, boot: Boot | None = None, cpu: str = "EPYC") -> tuple[Counted, list[Passage]]:
        passages: list[Passage] = []
        return count(engine, manifest, boot or Boot(seconds=20), cpu, passages.append), passages

    return run


@pytest.fixture
def ours() -> Manifest:
    return our_manifest()


@pytest.fixture
def probe(tmp_path: Path) -> Callable[..., Manifest]:
    """The probe with SVM enabled and one step of ours, as a hypervisor under test."""

    def make(code: bytes, registers: dict[str, int], **vmcb: int) -> Manifest:
        build.probe()
        it = guest(Mode.REAL, **vmcb)
        steps = (*enable_svm(), Step(code=code, registers=registers))
        payload = Payload.of(Program(regions={_VMCB: it.vmcb.data, **it.memory}, steps=steps))
        image = payload.image(Image.load(PROBE_IMAGE), tmp_path / "probe.elf")
        return Manifest(name="probe", image=image.path, memory=64)

    return make


# What is counted


def test_a_bare_loop_takes_what_it_has(counted: Counting, probe: Callable[..., Manifest]) -> None:
    """VMRUN, DEC, JNZ, and a guest of one VMMCALL that stays where it is: the counts are known beforehand."""
    loop = Insn.VMRUN.opcodes[0] + bytes.fromhex("48ffc975f8")
    done, passages = counted(probe(loop, {"rax": _VMCB, "rcx": _ROUNDS}))
    row = done.tally.rows["VMMCALL"]
    assert (list(done.tally.rows), row.exits) == (["VMMCALL"], _ROUNDS)
    assert (row.guest, row.host) == (Spread(1, 1, 1), Spread(3, 3, 3))
    assert [one.number for one in passages] == list(range(1, _ROUNDS + 1))
    assert {one.rax for one in passages} == {_VMCB} and passages[-1].host is None
    assert passages[0].registers["efer"] & EFER_SVME and passages[0].registers["cs"] & 3 == 0


def test_string_instructions_do_not_hide_what_follows(counted: Counting, probe: Callable[..., Manifest]) -> None:
    """Rounds of REP may count one by one, or not: nothing else changes."""
    loop = Insn.VMRUN.opcodes[0] + bytes.fromhex("4889cb b908000000 f3aa 4889d9 48ffc975eb".replace(" ", ""))
    done, _ = counted(probe(loop, {"rax": _VMCB, "rcx": 5, "rdi": SCRATCH + 0x4000}))
    host = done.tally.rows["VMMCALL"].host
    assert host is not None and host.least in (7, 7 + 7, 7 + 8) and host.least == host.p99


def test_a_vmcb_address_fresh_in_rax_is_known_at_the_exit(counted: Counting, probe: Callable[..., Manifest]) -> None:
    code = bytes.fromhex("4c89c0") + Insn.VMRUN.opcodes[0]  # mov rax, r8 in the same block
    _, (only,) = counted(probe(code, {"r8": _VMCB}))
    assert (only.rax, reason(only), only.guest) == (_VMCB, "VMMCALL", 1)
    assert only.before is None or only.before["guest_asid"] == 1


def test_a_vmrun_that_faults_has_no_exit(counted: Counting, probe: Callable[..., Manifest]) -> None:
    _, (only,) = counted(probe(Insn.VMRUN.opcodes[0], {"rax": _VMCB + 8}))
    assert not only.came_back and reason(only) == NO_EXIT


def test_a_vmcb_that_is_refused_runs_no_guest(counted: Counting, probe: Callable[..., Manifest]) -> None:
    _, (only,) = counted(probe(Insn.VMRUN.opcodes[0], {"rax": _VMCB}, guest_asid=0))
    assert (reason(only), only.guest) == ("INVALID", 0)


# Our hypervisor


@pytest.mark.slow
def test_the_counts_are_those_of_single_steps(engine: Qemu, ours: Manifest, tmp_path: Path) -> None:
    """Another witness: the debugger steps from a #VMEXIT to the next VMRUN, one instruction at a time."""
    vmrun = Image.load(ours.image).find(Insn.VMRUN.opcodes[0])[0]
    passages: list[Passage] = []
    rips: list[int] = []
    boot = Boot(guest="spin", count=2, seconds=60)
    with (
        listen(library.build(engine.version), passages.append) as listening,
        engine.watched(ours, boot, "EPYC", listening.plugin, tmp_path) as machine,
    ):
        debugger = machine.debugger

        def on_stop(_: Stop) -> None:
            if debugger.register("rip") == vmrun + 3:
                debugger.remove(Point.HARDWARE, vmrun + 3)
                rips.append(vmrun + 3)
                while rips[-1] != vmrun:
                    debugger.step()
                    rips.append(debugger.register("rip"))
            debugger.resume()

        debugger.insert(Point.HARDWARE, vmrun + 3)
        assert machine.run(on_stop).code == 0x10
        # A round of REP stays where it is. So does a step in which QEMU 11.1 looks for interrupts instead.
        repeats = {rip for rip in rips if machine.ram.read(rip, 1) in (b"\xf2", b"\xf3")}
    began = [rip for rip, then in pairwise(rips) if rip != then or rip in repeats]
    assert len(began) > 50 and passages[0].host == len(began) + 1


@pytest.mark.slow
def test_functions_have_all_the_instructions(engine: Qemu, counted: Counting, ours: Manifest) -> None:
    boot = Boot(guest="spin", count=3)
    found = steps.functions(engine, ours, boot, "EPYC")
    _, passages = counted(ours, boot)
    total, host = found["VMMCALL"].total(), passages[1].host
    assert host is not None and total <= host
    if library.interface(engine.version) != 1:  # which counts every round of REP
        assert total == host
    assert all("+" not in name for name in found["VMMCALL"]) and "without a name" not in found["VMMCALL"]
    (line,) = steps.lines(found)
    assert line.startswith(f"VMMCALL {total:,}: ")


def test_spin_has_an_exit_for_each_round(counted: Counting, ours: Manifest) -> None:
    done, passages = counted(ours, Boot(guest="spin", count=_ROUNDS))
    assert done.outcome == "guest-finished"
    assert {name: row.exits for name, row in done.tally.rows.items()} == {"VMMCALL": _ROUNDS + 1}
    rounds = passages[1:-1]
    assert len({(one.guest, one.host) for one in rounds}) == 1, "one round is like the other"
    assert all(one.before is not None and one.last is not None for one in rounds)


def test_hello_has_a_hypercall_at_its_end(counted: Counting, ours: Manifest) -> None:
    done, passages = counted(ours, Boot(guest="hello"))
    assert done.outcome == "guest-finished" and reason(passages[-1]) == "VMMCALL"
    assert passages[-1].after is not None and passages[-1].after["rax"] & 0xFFFF_FFFF == 3
    assert done.tally.rows["OUT"].exits >= 16


def test_mixed_has_its_exits_and_every_run_the_same(counted: Counting, ours: Manifest) -> None:
    (first, _), (second, _) = (counted(ours, Boot(guest="mixed", count=_ROUNDS)) for _ in range(2))
    rows = {name: row.exits for name, row in first.tally.rows.items()}
    wanted = {"CPUID": _ROUNDS + 1, "RDMSR": _ROUNDS, "IN": _ROUNDS, "OUT": _ROUNDS, "VMMCALL": _ROUNDS + 1}
    assert rows | wanted == rows
    assert first.tally.rows == second.tally.rows


def test_what_exits_all_day_costs_little(counted: Counting, ours: Manifest) -> None:
    """The bars: 300 instructions for CPUID; for the others a fifth of what the cheapest Linux KVM takes."""
    done, _ = counted(ours, Boot(guest="pc.exits", count=_ROUNDS))
    assert done.outcome == "guest-finished"
    bars = {"CPUID": 300, "RDMSR": 2_460 // 5, "WRMSR": 2_808 // 5, "VMMCALL": 2_629 // 5, "NPF": 3_129 // 5}
    rows = done.tally.rows
    assert {name: rows[name].exits >= _ROUNDS for name in bars} == dict.fromkeys(bars, True)
    medians = {name: host.median for name in bars if (host := rows[name].host)}
    assert {name: cost for name, cost in medians.items() if cost > bars[name]} == {} and len(medians) == len(bars)


def test_every_vmrun_is_seen(counted: Counting, ours: Manifest, engine: Qemu, tmp_path: Path) -> None:
    """As many as the hypervisor itself says that there were."""
    done, _ = counted(ours, Boot(guest="mixed", count=7))
    claim = next(engine.observe(ours, Boot(guest="mixed", count=7), "EPYC", tmp_path).of_kind("outcome"))
    assert done.tally.vmruns == claim.fields["vmruns"]


def test_a_hypervisor_that_refuses_executes_none(counted: Counting, ours: Manifest) -> None:
    done, passages = counted(ours, cpu="EPYC,-svm")
    assert (done.tally.vmruns, passages, done.outcome) == (0, [], "refused.no-svm")
    assert done.tally.instructions is not None and done.tally.instructions > 1000


# Strangers


class Enough(Exception):
    """Raised by a listener that has seen all that it wants."""


def test_a_strangers_good_and_bad_vmruns(engine: Qemu, assemble: Callable[[str], Path]) -> None:
    """It goes on for ever; a listener that leaves ends it."""
    passages: list[Passage] = []

    def listener(passage: Passage) -> None:
        passages.append(passage)
        if len(passages) == 8:
            raise Enough

    image = Manifest(name="stranger", image=assemble("vmrun_virtual"), memory=32)
    with pytest.raises(Enough):
        count(engine, image, Boot(seconds=100), "EPYC", listener)
    assert sorted(reason(one) for one in passages) == ["VMMCALL"] * 4 + [NO_EXIT] * 4


def test_a_strangers_illegal_vmcb(counted: Counting, assemble: Callable[[str], Path]) -> None:
    _, (only,) = counted(Manifest(name="stranger", image=assemble("vmrun_intercept"), memory=32))
    assert reason(only) == "INVALID" and only.after is not None
    assert only.after["exitcode"] & 0xFFFF_FFFF == exits.INVALID & 0xFFFF_FFFF


# The command


def svmconf(*arguments: str, **more: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "harness.cli", "trace", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_the_log_reads(tmp_path: Path) -> None:
    file = tmp_path / "trace.jsonl"
    done = svmconf("--guest", "spin", "--count", "3", "--limit", "2", "--engine", "tcg", "--json", str(file))
    assert done.returncode == 0, done.stderr
    if "seen by breakpoints" in done.stdout:
        pytest.skip("the system's QEMU has no TCG plugins")
    assert "#VMEXIT VMMCALL eax=0x4 at 0x0:0x7c25 after" in done.stdout
    assert "hypervisor wrote" in done.stdout and "rax 0x4 -> 0x0" in done.stdout
    assert "2 more VMRUNs are counted but not shown" in done.stdout
    assert "guest-finished" in done.stdout
    *passages, summary = map(json.loads, file.read_text().splitlines())
    assert [one["reason"] for one in passages] == ["VMMCALL"] * 4
    assert (summary["vmruns"], summary["outcome"]) == (4, "guest-finished")


def test_breakpoints_see_the_same(tmp_path: Path) -> None:
    said = {}
    for via in ("auto", "gdbstub"):
        file = tmp_path / via
        done = svmconf("--guest", "mixed", "--count", "1", "--engine", "tcg", "--via", via, "--json", str(file))
        assert done.returncode == 0, done.stderr
        *passages, _ = map(json.loads, file.read_text().splitlines())
        keys = ("number", "reason", "vmrun", "vmcb", "exitinfo1", "text", "hypervisor_wrote", "processor_wrote")
        said[via] = [{key: one.get(key) for key in keys} for one in passages]
    assert said["auto"] == said["gdbstub"]
    assert "seen by breakpoints" in done.stdout


def test_no_vmrun_is_said_in_a_line() -> None:
    done = svmconf("--engine", "tcg", "--cpu", "EPYC,-svm")
    assert done.returncode == 0 and "no VMRUN was executed" in done.stdout and "refused.no-svm" in done.stdout


def test_a_guest_that_is_not_offered() -> None:
    done = svmconf("--engine", "tcg", "--guest", "nobody")
    assert done.returncode == 2 and "offers no guest 'nobody'" in done.stderr


def test_ctrl_c_prints_the_summary_so_far() -> None:
    command = [sys.executable, "-m", "harness.cli", "trace", "--engine", "tcg", "--guest", "spin"]
    command += ["--count", "1000000000", "--seconds", "60", "--limit", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        seen = b""
        while b"#VMEXIT" not in seen:
            assert select.select([process.stdout], [], [], 60)[0]
            seen += os.read(process.stdout.fileno(), 1 << 16)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    if b"seen by breakpoints" in out:
        pytest.skip("the system's QEMU has no TCG plugins")
    text = (seen + out).decode()
    assert process.returncode == 0, err
    assert "VMMCALL" in text and "the machine: stopped" in text
