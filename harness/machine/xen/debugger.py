"""L0's gdbstub, narrowed to the domain.

TCG runs every layer on one virtual processor, so a breakpoint at a linear address of the domain stops when the domain
comes there (or whoever else uses that linear address: its own guest does so on any engine). What the stub cannot know
is that one instruction of the domain may take thousands of Xen's; :meth:`DomainDebugger.step` goes through with them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from harness.deadline import Deadline
from harness.errors import DeadlineExceeded
from harness.machine.base import Point, Stop
from harness.machine.gdb import PATIENCE, Gdb
from harness.machine.ram import Ram
from harness.machine.vmcb import FIELDS, Vmcb
from harness.machine.xen.found import Found

TCG, XEN = "TCG", "Xen"
_EXIT_VMRUN = 0x80
_NOT_ITS_DOING = frozenset((0x60, 0x61, 0x62, 0x63, 0x64, 0x400))
"""Exits after which the instruction is executed anew: INTR, NMI, SMI, INIT, VINTR, NPF."""

_IN_VAIN = 8  # steps; an instruction may also lead to itself
_SLICE = 0.1


class DomainDebugger:
    """A :class:`harness.machine.base.Debugger` of the domain.

    ``over`` says whether the domain has ended, which the stub does not tell. While Xen (or dom0) has the processor,
    :meth:`registers` gives what the VMCB holds of the domain.
    """

    def __init__(self, gdb: Gdb, ram: Ram, found: Found, over: Callable[[], bool]) -> None:
        self._gdb = gdb
        self._ram = ram
        self._found = found
        self._over = over
        self.answered_by = ""
        """The layer that answered the instruction stepped last: Xen if it was intercepted, else TCG."""

    def fileno(self) -> int:
        """The socket's descriptor, for :mod:`select`."""
        return self._gdb.fileno()

    # Registers

    def registers(self) -> dict[str, int]:
        """The domain's registers; EFER as the domain has it, without the SVME that Xen needs."""
        values = self._gdb.registers()
        if self._found.of_xen(self._ram, values["cr3"]):
            values = self._saved()
        return values | {"efer": self.efer}

    def register(self, name: str) -> int:
        """One register."""
        return self.efer if name == "efer" else self._gdb.register(name)

    def write_register(self, name: str, value: int) -> None:
        """Set one register; the domain must be executing."""
        self._gdb.write_register(name, value)

    @property
    def executes(self) -> bool:
        """Whether the domain (or its guest) has the processor; the machine must be stopped."""
        return not self._found.of_xen(self._ram, self._gdb.register("cr3"))

    @property
    def efer(self) -> int:
        """The domain's EFER, from Xen's memory; readable while it runs, and when all has ended."""
        return self._ram.u64(self._found.efer)

    @property
    def vmcb(self) -> Vmcb:
        """The VMCB with which Xen runs the domain: its state at its last exit."""
        return Vmcb(self._ram.read(self._found.vmcb, 0x1000))

    def _saved(self) -> dict[str, int]:
        vmcb = self.vmcb
        state = {name: vmcb[name] for name in ("rax", "rsp", "rip", "cr0", "cr2", "cr3", "cr4")}
        return state | {"eflags": vmcb["rflags"], "cs": vmcb["cs.selector"], "ss": vmcb["ss.selector"]}

    def _exit(self) -> int:
        field = FIELDS["exitcode"]
        return self._ram.u64(self._found.vmcb + field.offset)

    # Points

    def insert(self, kind: Point, address: int, size: int = 1) -> None:
        """Set a break- or watchpoint at a linear address."""
        self._gdb.insert(kind, address, size)

    def remove(self, kind: Point, address: int, size: int = 1) -> None:
        """Take a point back."""
        self._gdb.remove(kind, address, size)

    def swap(self, gone: list[tuple[Point, int, int]], new: list[tuple[Point, int, int]]) -> None:
        """Take points back and set others, at once."""
        self._gdb.swap(gone, new)

    # Running

    def resume(self) -> None:
        """Let the machine run."""
        self._gdb.resume()

    def interrupt(self) -> None:
        """Ask the machine to stop, wherever it is."""
        self._gdb.interrupt()

    def wait(self, deadline: Deadline) -> Stop:
        """The next stop in the domain, or the machine's end."""
        while True:
            stop = self._gdb.wait(deadline)
            if not _trapped(stop) or self.executes:
                return stop
            self._gdb.step()  # a program of dom0 came along
            self._gdb.resume()

    def step(self) -> Stop:
        """Execute one instruction of the domain, and all that Xen does for it.

        After a VMRUN the machine stands in Xen, with the nested guest still to run. When the instruction was the
        domain's last, it stands wherever Xen went then.
        """
        start = self._gdb.register("rip")
        deadline = Deadline.after(PATIENCE)
        while True:
            stop = self._step()
            if not _trapped(stop):
                return stop
            if self.executes:
                self.answered_by = TCG
                return stop
            self.answered_by = XEN
            cause = self._exit()
            if cause == _EXIT_VMRUN:
                return stop
            stop = self._enter(deadline)
            if cause not in _NOT_ITS_DOING or not _trapped(stop) or self._gdb.register("rip") != start:
                return stop

    def _step(self) -> Stop:
        """Execute one instruction, in the domain or the first of Xen's.

        The stub also stops without having executed any when the local APIC had something to look after.
        """
        start = self._gdb.register("rip")
        stop = self._gdb.step()
        for _ in range(_IN_VAIN):
            if not _trapped(stop) or self._gdb.register("rip") != start:
                break
            stop = self._gdb.step()
        return stop

    def enter(self, deadline: Deadline) -> bool:
        """From wherever the machine was stopped go on until the domain executes; false if it does not."""
        if self.executes:
            return True
        return not self._enter(deadline).gone and self.executes

    def _enter(self, deadline: Deadline) -> Stop:
        """Go on until Xen has the domain execute, and stop before its first instruction, or where its end is seen."""
        self._gdb.insert(Point.HARDWARE, self._found.vmrun)
        while True:
            self._gdb.resume()
            stop = self._next_stop(deadline)
            if _trapped(stop) and not self._over():
                stop = self._gdb.step()  # Xen's VMRUN; or a program of dom0 came along at another breakpoint
                if _trapped(stop) and not self.executes:
                    continue
            if not stop.gone:
                self._gdb.remove(Point.HARDWARE, self._found.vmrun)
            return stop

    def _next_stop(self, deadline: Deadline) -> Stop:
        """The stub's next stop. A domain that has ended never executes again: the machine is interrupted then."""
        while not deadline.passed and not self._over():
            with contextlib.suppress(DeadlineExceeded):
                return self._gdb.wait(deadline.sooner(_SLICE))
        self._gdb.interrupt()
        return self._gdb.wait(Deadline.after(PATIENCE))


def _trapped(stop: Stop) -> bool:
    """Whether it stopped at a point or after a step, rather than by our interruption or for good (SIGTRAP)."""
    return stop.reply[1:3] == "05"
