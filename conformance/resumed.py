"""An exit, and how the same guest was run again after it: what a hypervisor made of the one in the other."""

from collections.abc import Iterator
from dataclasses import dataclass

from harness.boot import Insn
from harness.machine.vmcb import Vmcb
from harness.observation import Event, Observation


@dataclass(frozen=True)
class Resumed:
    """The VMCB as an exit left it, and as the guest's next VMRUN found it; ``event`` is that VMRUN."""

    left: Vmcb
    event: Event
    then: Vmcb
    between: tuple[Event, ...]

    @property
    def flushed(self) -> bool:
        """Whether the TLB knows nothing any more of what it knew of the guest: by TLB_CONTROL, or another ASID."""
        return self.then.tlb_control in (1, 3, 7) or self.then.guest_asid != self.left.guest_asid


def resumed(seen: Observation) -> Iterator[Resumed]:
    """Every exit that was watched and had a next VMRUN of the same VMCB that was watched, too."""
    last: dict[int, int] = {}
    for number, event in enumerate(seen.trace):
        if event.insn is not Insn.VMRUN or event.vmcb is None:
            continue
        at = event.before["rax"]
        before = last.get(at)
        last[at] = number
        if before is None:
            continue
        left = seen.trace[before].vmcb_after
        if left is not None:
            yield Resumed(Vmcb(left), event, Vmcb(event.vmcb), tuple(seen.trace[before + 1 : number]))
