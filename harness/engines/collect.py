"""Turns a running machine into an observation: the same for every engine with a gdbstub and mapped RAM."""

from __future__ import annotations

import contextlib
import struct
import time
from collections.abc import Callable

from harness.boot import Boot
from harness.errors import DeadlineExceeded, EngineError, ProtocolError
from harness.hypervisors.manifest import Manifest
from harness.lab import wire
from harness.lab.payload import LOW_STEP_CODE, RESULTS, STEP_CODE, Left, Payload
from harness.machine.base import Machine, Memory, Point, Stop
from harness.machine.constants import Constants
from harness.machine.ending import Ending, How
from harness.machine.image import Image
from harness.machine.iopm import SIZE as IOPM_SIZE
from harness.machine.msrpm import SIZE as MSRPM_SIZE
from harness.machine.pagewalk import Mapping, Reach, merged, own, reach
from harness.machine.registers import Registers
from harness.machine.sabotage import Sabotage
from harness.machine.trace import Tracer
from harness.machine.vmcb import Vmcb
from harness.observation import Guest, Observation, Tried

WITNESS = 0x1_0000
"""Guest-physical address of a guest's witness (docs/protocol.md, "Guests")."""

_CONSOLE_KEPT = 64 << 10
_WITNESS_HEAD = struct.Struct("<4sI")
_WITNESS_ENTRY = struct.Struct("<8sIIQ")
_NO_FAULT = 0xFFFF_FFFF


class _Final:
    """The state just before the software wrote to the exit port, or when it was stopped: possibly a guest's."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.registers: Registers | None = None

    def take(self) -> None:
        self.registers = self.machine.registers()

    def take_at_exit(self) -> None:
        self.machine.exit_port_written = True
        self.take()


def observe(machine: Machine, image: Image, manifest: Manifest, boot: Boot, breakpoints: Point) -> Observation:
    """Run a hypervisor to its end, watching. Engine, version and CPU are for the engine to fill in."""
    final = _Final(machine)
    constants = Constants(image, machine.ram)
    host_mappings: list[Mapping] = []
    gdt: list[bytes] = []

    def at_first_vmrun() -> None:
        constants.first(machine.ram.read(tracer.last_vmcb, 0x1000) if tracer.last_vmcb is not None else None)
        host = machine.registers()
        host_mappings.extend(_host_mappings(machine, host))
        gdt.extend(_gdt(machine, host, host_mappings))

    at = machine.registers
    tracer = Tracer(machine.debugger, image, machine.ram, boot, final.take_at_exit, at_first_vmrun, at, breakpoints)
    tracer.arm()

    def shown() -> str | None:
        if manifest.watches_console and (outcome := manifest.outcome_of(None, machine.console())):
            return f"the console shows {outcome}"
        return None

    ended = _run(machine, tracer.handle, final.take, shown)
    if final.registers is None and ended.how in (How.HUNG, How.HALTED, How.EXITED):
        with contextlib.suppress(EngineError, DeadlineExceeded, ProtocolError):
            machine.interrupt()
            final.take()
    boot_seconds = time.monotonic() - machine.ready
    console = machine.console()
    outcome = manifest.outcome_of(ended.code, console)
    if ended.how is How.EXITED and (outcome or "").startswith("refused."):
        ended = ended.model_copy(update={"how": How.REFUSED, "detail": outcome})
    vmcb = machine.ram.read(tracer.last_vmcb, 0x1000) if tracer.last_vmcb is not None else None
    reached = _reach(machine, vmcb, tracer.host)
    return Observation(
        engine="",
        engine_version="",
        cpu="",
        boot=boot,
        command=machine.command,
        image_sha256=image.sha256,
        ended=ended,
        outcome=outcome,
        records=machine.reader.records,
        damage=machine.reader.damage,
        console=console[-_CONSOLE_KEPT:],
        trace=tracer.events,
        trace_cut=tracer.cut,
        trace_whole=len(tracer.events) if tracer.whole is None else tracer.whole,
        accesses=tracer.accesses,
        guarded=tracer.guarded,
        guarded_vmruns=tracer.guarded_vmruns,
        final=final.registers,
        host=tracer.host,
        host_again=tracer.host_again,
        gdt=gdt[0] if gdt else None,
        vmcb=vmcb,
        constants=constants.last(),
        mappings=merged(reached.mappings),
        host_mappings=host_mappings,
        msrpm=_map(machine, vmcb, "msrpm_base", MSRPM_SIZE),
        iopm=_map(machine, vmcb, "iopm_base", IOPM_SIZE),
        tables=reached.tables,
        witness=_witness(machine, reached) if manifest.guests else {},
        guests=_guests(machine, tracer) if len(tracer.vmcbs) > 1 else [],
        ram_size=machine.ram.size,
        image_extent=image.extent,
        seconds=time.monotonic() - machine.started,
        boot_seconds=boot_seconds,
    )


def carry_out(machine: Machine, probe: Image, payload: Payload) -> Left:
    """Run a payload to its end and read what it left in RAM. Engine, version and CPU are for the engine to fill in."""
    address, _, _ = probe.section(RESULTS)
    high = probe.symbol(STEP_CODE)
    sabotage = Sabotage(machine.debugger, machine.ram, payload.tampered(high), (0, LOW_STEP_CODE, high), payload.faults)
    progress = _Progress(machine.ram, address, payload.patience)
    ended = _run(machine, sabotage.handle, lambda: None, progress.stalled)
    boot_seconds = time.monotonic() - machine.ready
    if progress.why:
        ended = Ending(how=How.HUNG, detail=progress.why, rips=ended.rips)
    return Left(
        engine="",
        engine_version="",
        cpu="",
        command=machine.command,
        ended=ended,
        results=_results(machine, address, ended),
        console=machine.console()[-_CONSOLE_KEPT:],
        seconds=time.monotonic() - machine.started,
        boot_seconds=boot_seconds,
    )


def _results(machine: Machine, address: int, ended: Ending) -> bytes:
    """What the probe has written down; nothing where the engine died and took the machine's RAM along."""
    try:
        head = wire.Head.of(machine.ram.read(address, wire.RESULTS_HEAD))
        return machine.ram.read(address, head.used) if head else b""
    except (EngineError, DeadlineExceeded):
        if not ended.engine_at_fault:
            raise
        return b""


class _Progress:
    """Whether a payload goes on, where RAM can be read while it runs."""

    def __init__(self, ram: Memory, results: int, patience: float | None) -> None:
        self.why = ""
        self._patience = patience
        self._ram = ram
        self._results = results
        self._last: bytes = b""
        self._since = time.monotonic()

    def stalled(self) -> str | None:
        """Why it does not; ``None`` as long as it may."""
        if self._patience is None or not self._ram.live:
            return None
        now = self._ram.read(self._results, wire.RESULTS_HEAD)
        if now != self._last:
            self._last, self._since = now, time.monotonic()
        elif time.monotonic() - self._since > self._patience and now[:4] == b"SVMR":
            self.why = f"no step ended for {self._patience} s"
        return self.why or None


def shows(machine: Machine, words: str) -> Callable[[], str | None]:
    """What says, for :meth:`Machine.run`, that the console shows these words; with none, nothing ever does."""
    return lambda: f"the console shows {words!r}" if words and words in machine.console() else None


def _run(
    machine: Machine,
    on_stop: Callable[[Stop], None],
    at_shutdown: Callable[[], None],
    shown: Callable[[], str | None],
) -> Ending:
    try:
        return machine.run(on_stop, at_shutdown, shown)
    except (EngineError, ProtocolError) as error:
        words = machine.post_mortem()
        if words is not None:
            return Ending(how=How.ENGINE_CRASHED, detail=f"{error}; {words}")
        return Ending(how=How.HARNESS_ERROR, detail=str(error))
    except DeadlineExceeded as error:
        return Ending(how=How.HUNG, detail=error.what)


def _reach(machine: Machine, vmcb: bytes | None, host: Registers | None) -> Reach:
    if vmcb is None or host is None:
        return Reach()
    try:
        return reach(Vmcb(vmcb), host, machine.ram.read)
    except ValueError:
        return Reach()


def _guests(machine: Machine, tracer: Tracer) -> list[Guest]:
    guests = []
    for address, host in tracer.vmcbs.items():
        reached = _reach(machine, machine.ram.read(address, 0x1000), host)
        mappings, tables = merged(reached.mappings), reached.tables
        witness = _witness(machine, reached)
        guests.append(Guest(vmcb=address, host=host, mappings=mappings, tables=tables, witness=witness))
    return guests


def _host_mappings(machine: Machine, host: Registers) -> list[Mapping]:
    try:
        return merged(own(host, machine.ram.read).mappings)
    except ValueError:
        return []


def _gdt(machine: Machine, host: Registers, mappings: list[Mapping]) -> list[bytes]:
    """The host's GDT, if it can be found: by a single mapping."""
    base, limit = host.tables.get("gdt", (0, 0))
    found = (m for m in mappings if m.guest <= base and base + limit < m.guest + m.size)
    try:
        return [machine.ram.read(m.host + base - m.guest, limit + 1) for m in found]
    except ValueError:
        return []


def _map(machine: Machine, vmcb: bytes | None, base: str, size: int) -> bytes | None:
    """A permission map of a VMCB."""
    if vmcb is None:
        return None
    try:
        return machine.ram.read(getattr(Vmcb(vmcb), base), size)
    except ValueError:
        return None


def _witness(machine: Machine, reached: Reach) -> dict[str, Tried]:
    page = next((m for m in reached.mappings if m.guest <= WITNESS < m.guest + m.size), None)
    if page is None:
        return {}
    at = page.host + WITNESS - page.guest
    if at + 0x1000 > machine.ram.size:
        return {}
    magic, count = _WITNESS_HEAD.unpack(machine.ram.read(at, _WITNESS_HEAD.size))
    if magic != b"WITN" or count > 160:
        return {}
    tried: dict[str, Tried] = {}
    for number in range(count):
        data = machine.ram.read(at + _WITNESS_HEAD.size + number * _WITNESS_ENTRY.size, _WITNESS_ENTRY.size)
        name, vector, error, value = _WITNESS_ENTRY.unpack(data)
        tried[name.rstrip(b"\0").decode("ascii", "replace")] = Tried(
            vector=None if vector == _NO_FAULT else vector, error=error, value=value
        )
    return tried
