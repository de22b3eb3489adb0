"""Watches every access of the software under test to one page, over any number of VMRUNs."""

from __future__ import annotations

from harness.boot import Insn
from harness.machine.base import Debugger, Point

_PAGE = 0x1000
_VMRUN_LENGTH = len(Insn.VMRUN.opcodes[0])


class Guard:
    """An access watchpoint on a page, lifted while the processor itself may use it.

    VMRUN and #VMEXIT save and load host state through the host save area. TCG reports these accesses too, and restarts
    the instruction in the midst of them, so the watchpoint is lifted at VMRUN and set again at the instruction after
    it: it stands whenever the software runs, and only then.
    """

    def __init__(self, debugger: Debugger, kind: Point, page: int) -> None:
        self.area = (page, _PAGE)
        self.vmruns = 0
        self._debugger = debugger
        self._kind = kind
        self._stands = False
        self._over = False
        self._next: dict[int, int] = {}  # where the machine stops next: the place to stop at after that
        self._vmruns: set[int] = set()

    def set(self) -> None:
        """Watch the page; raises :class:`harness.errors.ProtocolError` when the engine cannot."""
        if not self._stands and not self._over:
            self._debugger.insert(Point.ACCESS, *self.area)
            self._stands = True

    def lift(self) -> None:
        """Stop watching, at a VMRUN. Counts it, if the page was watched up to here."""
        if self._stands:
            self._debugger.remove(Point.ACCESS, *self.area)
            self._stands = False
            self.vmruns += 1

    def takes_over(self, vmrun: int) -> None:
        """Look after that VMRUN from now on without an event for each: the tracer has given its breakpoint up.

        The machine stands behind the VMRUN.
        """
        if not self._over:
            self._vmruns.add(vmrun)
            self._next[vmrun] = vmrun + _VMRUN_LENGTH
            self._debugger.insert(self._kind, vmrun)

    def passes(self, rip: int) -> bool:
        """Deal with a stop at a VMRUN, or behind one, that was taken over; false for any other stop.

        The breakpoint moves from the one to the other, so that none stands where the machine goes on.
        """
        then = self._next.pop(rip, None)
        if then is None:
            return False
        entering = rip in self._vmruns
        watch = (Point.ACCESS, *self.area)
        self._debugger.swap(
            [(self._kind, rip, 1), *([watch] if entering and self._stands else [])],
            [(self._kind, then, 1), *([watch] if not entering and not self._stands else [])],
        )
        self.vmruns += entering and self._stands
        self._stands = not entering
        self._next[then] = rip
        return True

    def end(self) -> None:
        """Watch no more."""
        self.lift()
        self._over = True
        for place in self._next:
            self._debugger.remove(self._kind, place)
        self._next.clear()
