"""The first VMRUN of each further processor, which comes long after VMRUN is watched no longer."""

from __future__ import annotations

from harness.machine.base import Debugger, Point

_PATIENCE = 64


class FurtherProcessors:
    """Watches VMRUN again, for a while, when a processor is given a host save area of its own.

    That is the last thing that a processor needs before it can run a guest (15.30.4), so its VMRUN is near. The others
    execute theirs meanwhile, so the first one with a VMCB that is not known yet ends the search.
    """

    def __init__(self, debugger: Debugger, kind: Point) -> None:
        self.sought: set[int] = set()
        """VMRUNs that are looked for at present."""
        self._debugger = debugger
        self._kind = kind
        self._given_up: set[int] = set()
        self._pages: set[int] = set()
        self._left = 0

    def give_up(self, vmrun: int) -> None:
        """The VMRUN there is watched no longer."""
        self._given_up.add(vmrun)

    def given(self, page: int) -> None:
        """A processor was given that page as its host save area."""
        if page in self._pages:
            return
        self._pages.add(page)
        self._left = _PATIENCE
        for vmrun in self._given_up - self.sought:
            self._debugger.insert(self._kind, vmrun)
        self.sought = set(self._given_up)

    def passed(self, *, known: bool) -> None:
        """A VMRUN that was looked for was executed, of a VMCB that was ``known`` before or not."""
        self._left -= 1
        if known and self._left:
            return
        for vmrun in self.sought:
            self._debugger.remove(self._kind, vmrun)
        self.sought = set()
