"""Passages where there is no plugin: from the debugger's trace of an observation.

It is a part of what happened: VMRUNs that stand in the image's file, each place a limited number of times. Instructions
are not counted, and time is not known.
"""

from __future__ import annotations

from collections.abc import Iterator

from harness.boot import Insn
from harness.machine.vmcb import Vmcb
from harness.observation import Observation
from harness.trace.passage import Passage


def passages(seen: Observation) -> Iterator[Passage]:
    """The passages that were watched."""
    left: dict[int, Vmcb] = {}
    for number, event in enumerate(seen.executed(Insn.VMRUN), 1):
        rax = event.before["rax"]
        after = Vmcb(event.vmcb_after) if event.vmcb_after is not None else None
        yield Passage(
            number=number,
            cpu=0,
            behind=event.before["rip"] + len(Insn.VMRUN.opcodes[0]),
            rax=rax,
            before=Vmcb(event.vmcb) if event.vmcb is not None else None,
            last=left.get(rax),
            after=after,
            came_back=after is not None,
            registers=event.after,
        )
        if after is not None:
            left[rax] = after
