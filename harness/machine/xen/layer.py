"""L0's QEMU with Xen in it: booting for the first time, or as it was when its domain waited for an image."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from harness.deadline import Deadline
from harness.engines.store import Runnable, Tree
from harness.errors import DeadlineExceeded, EngineError
from harness.machine.base import Point
from harness.machine.qemu import QemuMachine
from harness.machine.xen import dom0, parking
from harness.machine.xen.found import EferHunt, Found, find_vmcb, leads_to, open_ports
from harness.machine.xen.snapshot import State, forget, kept

_FORMAT = "4"
_XEN_WORDS = f"console=com2 com2=115200,8n1 loglvl=all guest_loglvl=all dom0_mem={dom0.MEMORY}M"
_DOM0_WORDS = "console=hvc0 quiet rdinit=/init panic=-1"
_OTHERS = 64  # MiB: Xen itself, and what the domain's tables take
_BOOT_SECONDS, _RESTORE_SECONDS = 300.0, 60.0
_TICK = 0.02
_REPORTER = re.compile(r"^libxl: error: (libxl\w*\.c:\d+:\w+: )?")


class Refused(EngineError):
    """Xen has no such domain to give."""


@dataclass(frozen=True)
class Layer:
    """An L0 with a Xen in it whose only domain is ``domain``.

    ``cpu`` is L0's ``-cpu``. Raises :class:`EngineError` when it does not boot.
    """

    name: str
    qemu: Runnable
    xen: Tree
    kernel: Tree
    busybox: Tree
    cpu: str
    domain: dom0.Domain

    @cached_property
    def memory(self) -> int:
        """L0's RAM in MiB."""
        return -(-(self.domain.memory + dom0.MEMORY + _OTHERS) // 32) * 32

    @cached_property
    def key(self) -> str:
        """Names the state by all that goes into it."""
        parts = (
            _FORMAT,
            *(part.version for part in (self.qemu, self.xen, self.kernel, self.busybox)),
            *(str(part.root) for part in (self.xen, self.kernel, self.busybox)),
            *(dom0.INIT, self.domain.config, parking.elf().hex(), _XEN_WORDS, _DOM0_WORDS, str(self.memory)),
            *self._command(Path()),
        )
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]

    def state(self) -> State:
        """The kept state; boots it, for some 10 seconds, when there is none.

        :raises Refused: Xen has no such domain to give; known without booting from the second time on.
        """
        state = kept(self.name, self.key, self._make, 2 * _BOOT_SECONDS)
        if (words := state.refusal) is not None:
            raise Refused(words)
        return state

    def restored(self, folder: Path) -> tuple[QemuMachine, Found]:
        """Stopped, with the domain at :data:`parking.BACK`. A state that is of no use is made anew once."""
        state = self.state()
        try:
            return self._restored(state, folder)
        except (EngineError, DeadlineExceeded, OSError, ValueError):
            forget(state)
            return self._restored(self.state(), folder)

    def _restored(self, state: State, folder: Path) -> tuple[QemuMachine, Found]:
        deadline = Deadline.after(_RESTORE_SECONDS)
        machine = self._start(folder, deadline, "-incoming", "defer")
        try:
            state.load(machine.qmp, machine.ram.descriptor, deadline)
            _go(machine, parking.BACK, deadline)
        except BaseException:
            machine.close()
            raise
        return machine, state.found

    def _make(self, state: State) -> None:
        deadline = Deadline.after(_BOOT_SECONDS)
        folder = state.home / "boot"  # not a temporary folder: what a killed process leaves is swept with its draft
        folder.mkdir()
        with self._boot(folder, deadline) as machine:
            machine.debugger.resume()
            refusal = _wait_for_domain(machine, console(folder), deadline)
            if refusal is not None:
                state.refuse(refusal)
            else:
                machine.interrupt()
                state.save(machine.qmp, machine.ram.descriptor, _search(machine, deadline), deadline)
        shutil.rmtree(folder)

    def _boot(self, folder: Path, deadline: Deadline) -> QemuMachine:
        hypervisor, archive = folder / "xen", folder / "initramfs"
        hypervisor.write_bytes(gzip.decompress(dom0.one(self.xen.root, "boot/xen-*.gz").read_bytes()))
        archive.write_bytes(dom0.initramfs(self.xen.root, self.kernel.root, self.busybox.root, self.domain))
        vmlinuz = dom0.one(self.kernel.root, "boot/vmlinuz-*")
        modules = f"{vmlinuz} {_DOM0_WORDS},{archive}"
        return self._start(folder, deadline, "-kernel", str(hypervisor), "-append", _XEN_WORDS, "-initrd", modules)

    def _start(self, folder: Path, deadline: Deadline, *more: str) -> QemuMachine:
        command = [*self._command(folder), *more]
        return QemuMachine(command, self.memory, folder, deadline, {**os.environ, **self.qemu.env})

    def _command(self, folder: Path) -> list[str]:
        return [
            *self.qemu.argv,
            *self.qemu.arguments,
            *("-machine", "pc,memory-backend=ram", "-accel", "tcg", "-cpu", self.cpu),
            # Time goes by instructions, so that what Xen does by its timers is the same in each run of a state.
            *("-icount", "shift=1,sleep=off", "-rtc", "base=2026-01-01,clock=vm"),
            *("-nodefaults", "-no-user-config", "-vga", "none", "-display", "none", "-no-reboot"),
            *("-chardev", f"file,id=xen,path={console(folder)}", "-device", "isa-serial,index=1,chardev=xen"),
            *("-device", "isa-debug-exit,iobase=0xf4,iosize=4"),
            # What is saved while a breakpoint holds the machine is restored stopped, and not "in the debugger".
            *("-global", "migration.store-global-state=off"),
        ]


def console(folder: Path) -> Path:
    """The file with what Xen and dom0 print."""
    return folder / "xen.log"


def _wait_for_domain(machine: QemuMachine, log: Path, deadline: Deadline) -> str | None:
    """Wait until dom0 says that the domain is there; xl's own words when it is refused."""
    while True:
        said = log.read_text("latin-1") if log.exists() else ""
        if dom0.READY in said:
            return None
        _, refused, words = said.partition(dom0.REFUSED)
        if refused and "\n" in words:
            return _REPORTER.sub("", words.splitlines()[0].strip())
        if machine.child.wait(deadline.sooner(_TICK)):
            raise EngineError(f"L0 ended while Xen booted: {machine.child.said or last(said)}")
        if deadline.passed:
            raise EngineError(f"Xen does not come up in {_BOOT_SECONDS:.0f} s; it said last: {last(said)}")


def last(text: str) -> str:
    """The last line that says something."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "nothing")


def _search(machine: QemuMachine, deadline: Deadline) -> Found:
    """Find what there is to find while the domain goes round its loop, and leave the processor in Xen."""
    hunt = EferHunt(machine.ram)
    for place, value in zip(parking.WRITTEN, parking.EFERS, strict=True):
        _go(machine, place, deadline)
        hunt.look(value)
    vmcb = find_vmcb(machine.ram, parking.BASE)
    _go(machine, parking.LEAVE, deadline)
    while (behind := machine.debugger.register("rip")) == parking.LEAVE:
        machine.debugger.step()  # into Xen, behind its VMRUN
    vmrun, root = behind - 3, machine.debugger.register("cr3") & ~0xFFF
    found = Found(vmcb=vmcb, efer=hunt.place, vmrun=vmrun, mapped=leads_to(machine.ram, root, vmrun))
    open_ports(machine.ram, vmcb)
    return found


def _go(machine: QemuMachine, place: int, deadline: Deadline) -> None:
    """Let it run until the domain comes to an address."""
    machine.debugger.insert(Point.HARDWARE, place)
    machine.debugger.resume()
    stop = machine.debugger.wait(deadline)
    if stop.gone:
        raise EngineError(f"L0 ended: {machine.child.said}")
    machine.debugger.remove(Point.HARDWARE, place)
    if (rip := machine.debugger.register("rip")) != place:
        raise EngineError(f"the machine stopped at {rip:#x} instead of {place:#x}")
