"""A passage: from a VMRUN to its #VMEXIT, and on to the next VMRUN. Made of the plugin's events, for each processor.

Instructions are those begun. ``guest`` are the guest's: one that is intercepted counts, and counts again when it is
tried again. ``host`` are the hypervisor's from the one behind VMRUN to the next VMRUN, both included: what the exit
cost it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from harness.boot import Insn
from harness.machine.vmcb import Vmcb
from harness.trace.stream import Event, Kind

_LENGTH = len(Insn.VMRUN.opcodes[0])


@dataclass(frozen=True)
class Passage:
    """One VMRUN and what came of it.

    :param number: counted from 1, on all processors together.
    :param cpu: the processor.
    :param behind: linear address of the instruction behind the VMRUN.
    :param rax: the VMCB's physical address, where it is known.
    :param seconds: when VMRUN was executed, since the first; 0 where time is not known.
    :param before: the VMCB at VMRUN.
    :param last: the same VMCB as it was left by the #VMEXIT before, if there was one: what differs is the hypervisor's.
    :param after: the VMCB at #VMEXIT; ``None`` also when there was none: VMRUN failed, or a guest runs to this day.
    :param came_back: whether there was a #VMEXIT.
    :param registers: the guest's rbx, rcx and rdx at #VMEXIT, where known.
    :param guest: instructions of the guest.
    :param host: instructions of the hypervisor until the next VMRUN; ``None`` after the last.
    """

    number: int
    cpu: int
    behind: int
    rax: int | None = None
    seconds: float = 0.0
    before: Vmcb | None = None
    last: Vmcb | None = None
    after: Vmcb | None = None
    came_back: bool = False
    registers: dict[str, int] = field(default_factory=dict)
    guest: int | None = None
    host: int | None = None

    @property
    def vmrun(self) -> int:
        """Linear address of the VMRUN."""
        return self.behind - _LENGTH


@dataclass
class _Processor:
    """What is under way on one processor: passages with the instruction count at their VMRUN, the latest last."""

    open: list[tuple[Passage, int]] = field(default_factory=list)
    ended: Passage | None = None
    ended_at: int = 0


class Pairing:
    """Makes passages of events, and notes what else they tell.

    ``instructions`` are those begun by each processor so far; ``attempts`` are VMRUNs that a guest tried and that were
    intercepted, which are no passages.
    """

    def __init__(self) -> None:
        self.instructions: dict[int, int] = {}
        self.attempts = 0
        self.seconds = 0.0
        self._processors: dict[int, _Processor] = {}
        self._left: dict[int, Vmcb] = {}
        self._count = 0
        self._began: float | None = None

    def passages(self, events: Iterable[Event]) -> Iterator[Passage]:
        """The passages, each as soon as all of it is known, which is at the next VMRUN of its processor."""
        for event in events:
            self._began = event.seconds if self._began is None else self._began
            self.seconds = event.seconds - self._began
            self.instructions[event.cpu] = event.instructions
            one = self._processors.setdefault(event.cpu, _Processor())
            if event.kind is Kind.VMRUN:
                yield from self._vmrun(one, event)
            elif event.kind is Kind.VMEXIT:
                yield from self._vmexit(one, event)
        for one in self._processors.values():
            if one.ended:
                yield one.ended
            yield from (passage for passage, _ in one.open)

    def _vmrun(self, one: _Processor, event: Event) -> Iterator[Passage]:
        if one.ended:
            yield replace(one.ended, host=event.instructions - one.ended_at + 1)
            one.ended = None
        failed = next((n for n, (other, _) in enumerate(one.open) if other.behind == event.behind), None)
        if failed is not None:  # it is executed again and never came back
            yield from (passage for passage, _ in one.open[failed:])
            del one.open[failed:]
        self._count += 1
        rax = event.registers.get("rax")
        passage = Passage(
            number=self._count,
            cpu=event.cpu,
            behind=event.behind,
            rax=rax,
            seconds=self.seconds,
            before=Vmcb(event.vmcb) if event.vmcb else None,
            last=self._left.get(rax) if rax is not None else None,
        )
        one.open.append((passage, event.instructions))

    def _vmexit(self, one: _Processor, event: Event) -> Iterator[Passage]:
        while one.open and one.open[-1][0].behind != event.behind:
            one.open.pop()  # what a guest tried
            self.attempts += 1
            self._count -= 1
        if not one.open:
            return
        passage, at_vmrun = one.open.pop()
        yield from (other for other, _ in one.open)  # they were not under way: they failed
        one.open.clear()
        rax = event.registers.get("rax")
        after = Vmcb(event.vmcb) if event.vmcb else None
        if rax is not None and after is not None:
            self._left[rax] = after
        same = rax == passage.rax  # else what was read at VMRUN was out of date
        one.ended = replace(
            passage,
            rax=rax,
            before=passage.before if same else None,
            last=passage.last if same else None,
            after=after,
            came_back=True,
            registers={name: value for name, value in event.registers.items() if name != "rax"},
            guest=event.instructions - at_vmrun - 1,
        )
        one.ended_at = event.instructions
