"""How long a Linux takes to its shell, under our hypervisor and on the bare engine, as rows of a bench.

Times are of the whole machine, from its start to the first word of our init. Boots are taken in turns, and each is
compared with the bare one right before it: others who use this machine slow both down. The median of those ratios is
what counts, that of the processor's time above all.
"""

from __future__ import annotations

import os
import resource
import select
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.boot import Boot
from harness.deadline import Deadline
from harness.engines import select as engines
from harness.engines.base import Console, Engine
from harness.engines.kvm_in_tcg import KvmInTcg
from harness.engines.qemu import Qemu
from harness.engines.store.recipes import recipes
from harness.errors import EngineError, SvmconfError
from harness.guests import files
from harness.guests.linux import LINUX, Linux
from harness.hypervisors.manifest import Manifest

UP = "@linux up"
"""The first word of our init (:mod:`harness.guests.workload`)."""

_BAR = "1.3x"
_SECONDS = 240.0


@dataclass(frozen=True)
class Took:
    """Seconds by the clock, and of processors."""

    clock: float
    processor: float


def ratios(pairs: Sequence[tuple[Took, Took]]) -> str:
    """The median ratio of the second to the first, the least and the greatest; by the processor's time where known."""
    clock = [theirs.clock / bare.clock for bare, theirs in pairs]
    text = f"{statistics.median(clock):.2f}x ({min(clock):.2f} to {max(clock):.2f}"
    if all(bare.processor for bare, _ in pairs):
        text += f", processor {statistics.median(theirs.processor / bare.processor for bare, theirs in pairs):.2f}x"
    return text + ")"


def rows(
    engine: Engine, manifest: Manifest, cpu: str, peer: str, folder: Path, times: int
) -> list[tuple[str, str, str]]:
    """What, result and bar; medians of boots taken in turns. Where it cannot be done a row says why."""
    lack = files.missing(Linux())
    if lack or not isinstance(engine, Qemu):
        return [("Linux to its shell", f"not measured: {lack or 'this engine has no console for a program'}", "")]
    found = []
    for quiet in (True, False):
        linux = Linux(quiet=quiet, shell=True)
        how = "quiet" if quiet else "talkative"
        boot = Boot(guest=LINUX, linux=linux)
        pairs = _in_turns(
            times,
            lambda linux=linux: _to_up(engine.console_alone(linux, cpu, folder)),  # type: ignore[misc]
            lambda boot=boot: _to_up(engine.console(manifest, boot, cpu, folder)),  # type: ignore[misc]
        )
        found += [
            (
                f"Linux to its shell, bare engine, {how}",
                f"{statistics.median(bare.clock for bare, _ in pairs):.2f} s",
                "",
            ),
            (f"Linux to its shell under ours / bare, {how}", ratios(pairs), _BAR),
            (f"the same under {peer} / its bare engine, {how}", _peer(peer, linux, folder, times), ""),
        ]
    return found


def _peer(name: str, linux: Linux, folder: Path, times: int) -> str:
    """A nested KVM's Linux, beside the bare engine that this KVM itself runs on."""
    try:
        kvm = engines.engine(name)
        below = engines.engine(next(part for part in recipes().of(name).needs if part.startswith("qemu")))
    except SvmconfError as error:
        return f"not at hand: {error}"
    if not isinstance(kvm, KvmInTcg):
        return "not at hand: it is no nested KVM"
    try:
        pairs = _in_turns(times, lambda: _alone(below, linux, folder), lambda: _alone(kvm, linux, folder))
    finally:
        kvm.close()
    return ratios(pairs)


def _alone(engine: Engine, linux: Linux, folder: Path) -> Took:
    alone = engine.alone(linux, engine.default_cpus[0], _SECONDS, folder, until=UP)
    if UP not in alone.console:
        raise EngineError(f"{engine.name}: Linux did not come up: {alone.ended}")
    return Took(alone.seconds, 0.0)


def _in_turns(times: int, first: Callable[[], Took], second: Callable[[], Took]) -> list[tuple[Took, Took]]:
    return [(first(), second()) for _ in range(times)]


def _to_up(console: Console) -> Took:
    """Start a machine, read its console up to the word, end it; raise :class:`EngineError` when that never comes."""
    deadline, said, start = Deadline.after(_SECONDS), b"", time.monotonic()
    before = _processor_time()
    env = {**os.environ, **console.env}
    with subprocess.Popen(
        console.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env
    ) as machine:
        assert machine.stdout is not None
        try:
            while UP.encode() not in said and not deadline.passed:
                readable, _, _ = select.select((machine.stdout,), (), (), deadline.left)
                data = os.read(machine.stdout.fileno(), 1 << 16) if readable else b""
                if not data:
                    break
                said += data
            clock = time.monotonic() - start
        finally:
            machine.kill()
            machine.wait()
    if UP.encode() not in said:
        raise EngineError(f"Linux did not come up within {_SECONDS:.0f} s: {said[-200:].decode('latin-1')!r}")
    return Took(clock, _processor_time() - before)


def _processor_time() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
