"""``svmconf bench``: what the harness adds to a boot, how fast VMRUN goes round, what an exit costs."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from harness import build, paths
from harness.boot import Boot, Insn
from harness.commands import options
from harness.engines.base import Engine
from harness.guests import timing
from harness.hypervisors.ours import our_manifest
from harness.lab import runner, speed
from harness.lab.guest import Mode, guest
from harness.lab.program import SCRATCH, Program, Step
from harness.lab.steps import wrmsr
from harness.machine.registers import EFER_SVME
from harness.msr import Msr
from harness.trace import costs

_VMCB, _HSAVE = SCRATCH, SCRATCH + 0x1000
_EFER = 0xD00
_DEC_RCX_JNZ = bytes.fromhex("48ffc975")  # dec rcx; jnz, with the distance to follow


@click.command()
@options.engine
@click.option("--cpu", default="EPYC", show_default=True, metavar="M", help="CPU model.")
@click.option("--boots", default=15, show_default=True, metavar="N", help="Boots for each median.")
@click.option("--round-trips", default=100_000, show_default=True, metavar="N", help="VMRUNs for each rate.")
@click.option("--peer", default=costs.PEER, show_default=True, metavar="E", help="Whose exits to count beside ours.")
@click.option("--linux-boots", default=3, show_default=True, metavar="N", help="Boots of a Linux for each median.")
@click.option("--suite/--no-suite", default=True, help="Time the conformance suite too.")
@click.option("--exits", "only_exits", is_flag=True, help="Only count instructions per exit.")
@click.option("--linux", "only_linux", is_flag=True, help="Only boot a Linux, under ours and bare, and the peer's.")
def command(
    engine: str,
    cpu: str,
    boots: int,
    round_trips: int,
    peer: str,
    linux_boots: int,
    suite: bool,
    only_exits: bool,
    only_linux: bool,
) -> None:
    """Measure, and print a table. Everything is measured in this one run: compare its rows, not two machines."""
    from harness.engines import select

    chosen = select.one(engine)
    table = Table(box=None, header_style="dim")
    for column in ("what", "result", "bar"):
        table.add_column(column)
    if only_exits:
        for row in costs.rows(chosen, cpu, peer):
            table.add_row(*row)
    if only_linux:
        _linux(chosen, cpu, peer, linux_boots, table)
    if only_exits or only_linux:
        _print(chosen, table)
        return
    with Progress(transient=True) as progress, tempfile.TemporaryDirectory(prefix="svmconf-") as scratch:
        folder = Path(scratch)
        task = progress.add_task("booting", total=2 * boots + 4)
        tick: Callable[[], None] = lambda: progress.advance(task)  # noqa: E731
        bare, ours = _boots(chosen, cpu, boots, folder, tick)
        loop, plain = _round_trips(chosen, cpu, round_trips, folder, tick)
        lab = list(speed.rows(chosen, cpu, folder, boots))
    table.add_row("bare engine, start to end", f"{bare:.3f} s", "")
    table.add_row("boot to observation", f"{ours:.3f} s", "")
    table.add_row("what the harness adds", f"{ours - bare:.3f} s", "0.15 s")
    table.add_row("VMRUN round trips, our run loop", f"{loop:,.0f} /s", "")
    table.add_row("VMRUN round trips, bare loop", f"{plain:,.0f} /s", "")
    table.add_row("our loop / bare loop", f"{loop / plain:.2f}", "")
    for row in (*lab, *costs.rows(chosen, cpu, peer)):
        table.add_row(*row)
    _linux(chosen, cpu, peer, linux_boots, table)
    if suite:
        seconds = _suite(engine)
        table.add_row("conformance suite, pytest -n auto", f"{seconds:.1f} s", "60 s")
    _print(chosen, table)


def _linux(engine: Engine, cpu: str, peer: str, boots: int, table: Table) -> None:
    hypervisor = our_manifest()
    with tempfile.TemporaryDirectory(prefix="svmconf-") as scratch:
        for row in timing.rows(engine, hypervisor, cpu, peer, Path(scratch), boots):
            table.add_row(*row)


def _print(engine: Engine, table: Table) -> None:
    console = Console()
    console.print(engine.description, highlight=False)
    console.print(table)


def _boots(engine: Engine, cpu: str, times: int, folder: Path, tick: Callable[[], None]) -> tuple[float, float]:
    """Median seconds of the engine alone, and of a whole observation, taken in turns."""
    manifest = our_manifest()
    boot = Boot(guest="hello")
    bare: list[float] = []
    ours: list[float] = []
    for _ in range(times):
        command = engine.console(manifest, boot, cpu, folder).command
        bare.append(_seconds(lambda command=command: _alone(command)))  # type: ignore[misc]
        tick()
        ours.append(_seconds(lambda: engine.observe(manifest, boot, cpu, folder)))
        tick()
    return statistics.median(bare), statistics.median(ours)


def _round_trips(engine: Engine, cpu: str, count: int, folder: Path, tick: Callable[[], None]) -> tuple[float, float]:
    """VMRUNs a second of our run loop (guest ``spin``) and of a bare loop in the probe: each from two runs."""
    manifest = our_manifest()
    build.probe()

    def ours(loops: int) -> float:
        tick()
        command = engine.console(manifest, Boot(guest="spin", count=loops), cpu, folder).command
        return _seconds(lambda: _alone(command))

    def plain(loops: int) -> float:
        tick()
        return runner.run(engine, _bare_loop(loops), cpu, folder).boot_seconds

    return tuple(count / (run(2 * count) - run(count)) for run in (ours, plain))  # type: ignore[return-value]


def _bare_loop(count: int) -> Program:
    """VMRUN, decrement, again; the guest is one VMMCALL, whose exit leaves its IP where it was."""
    body = Insn.VMRUN.opcodes[0] + _DEC_RCX_JNZ
    back = (-(len(body) + 1)) & 0xFF
    it = guest(Mode.REAL)
    return Program(
        regions={_VMCB: it.vmcb.data, **it.memory},
        steps=(
            wrmsr(Msr.EFER, _EFER | EFER_SVME),
            wrmsr(Msr.VM_HSAVE_PA, _HSAVE),
            Step(code=body + bytes([back]), registers={"rax": _VMCB, "rcx": count}),
        ),
        seconds=120,
    )


def _alone(command: list[str]) -> None:
    subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=120)


def _seconds(what: Callable[[], object]) -> float:
    start = time.monotonic()
    what()
    return time.monotonic() - start


def _suite(engine: str) -> float:
    command = [sys.executable, "-m", "pytest", "-qq", "-n", "auto", f"--engine={engine}", "conformance"]
    return _seconds(lambda: subprocess.run(command, cwd=paths.ROOT, stdout=subprocess.DEVNULL))
