"""A passage: from a VMRUN to its #VMEXIT, and on to the next VMRUN. Made of the plugin's events, for each processor.

Instructions are those begun. ``guest`` are the guest's: one that is intercepted counts, and counts again when it is
tried again. ``host`` are the hypervisor's from the one behind VMRUN to the next VMRUN, both included: what the exit
cost it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from harness.boot import Insn
from harness.machine.registers import EFER_SVME
from harness.machine.vmcb import Vmcb
from harness.trace.stream import Event, Kind

_PAGE = 0x1000
_LENGTH = len(Insn.VMRUN.opcodes[0])


@dataclass(slots=True)
class Passage:
    """One VMRUN and what came of it; whole when :class:`Pairing` hands it out.

    :param number: counted from 1, on all processors together.
    :param cpu: the processor.
    :param behind: linear address of the instruction behind the VMRUN.
    :param rax: the VMCB's physical address, where it is known.
    :param seconds: when VMRUN was executed, since the first; 0 where time is not known.
    :param before: the VMCB at VMRUN.
    :param last: the same VMCB as it was left by the #VMEXIT before, if there was one: what differs is the hypervisor's.
    :param after: the VMCB at #VMEXIT; ``None`` also when there was none: VMRUN failed, or a guest runs to this day.
    :param came_back: whether there was a #VMEXIT.
    :param registers: at #VMEXIT, where known: rbx, rcx and rdx are the guest's, rax is the host's again.
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


@dataclass(slots=True)
class _Open:
    """A passage under way, and the event of its VMRUN."""

    passage: Passage
    event: Event

    def can_come_back(self, rax: int | None) -> bool:
        """Whether this VMRUN ran a guest, if the instruction behind is executed now with this rAX.

        A VMRUN that faults is skipped by some handlers. rAX is the one from then: the one before may be out of date.
        """
        if rax is None:
            return True  # nothing is known of its circumstances
        registers = self.event.registers
        return bool(registers["efer"] & EFER_SVME) and not registers["cs"] & 3 and rax % _PAGE == 0


@dataclass(slots=True)
class _Processor:
    """What is under way on one processor, the latest last, and the passage that came back last."""

    open: list[_Open] = field(default_factory=list)
    ended: Passage | None = None
    ended_at: int = 0


class Pairing:
    """Makes passages of events, and notes what else they tell.

    ``seconds`` are those since the first VMRUN. ``instructions`` are those begun by each processor so far, or by all in
    one entry where they are counted together. ``attempts`` are VMRUNs that a guest tried, which are no passages.
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
            self.instructions[0 if event.together else event.cpu] = event.instructions
            one = self._processors.setdefault(event.cpu, _Processor())
            if event.kind is Kind.END:
                continue
            self._began = event.seconds if self._began is None else self._began
            self.seconds = event.seconds - self._began
            yield from self._vmrun(one, event) if event.kind is Kind.VMRUN else self._vmexit(one, event)
        for one in self._processors.values():
            if one.ended:
                yield one.ended
            yield from (under_way.passage for under_way in one.open)

    def _vmrun(self, one: _Processor, event: Event) -> Iterator[Passage]:
        if one.ended:
            one.ended.host = event.instructions - one.ended_at + 1
            yield one.ended
            one.ended = None
        failed = next((n for n, other in enumerate(one.open) if other.event.behind == event.behind), None)
        if failed is not None:  # it is executed again and never came back
            yield from (other.passage for other in one.open[failed:])
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
        one.open.append(_Open(passage, event))

    def _vmexit(self, one: _Processor, event: Event) -> Iterator[Passage]:
        while one.open and one.open[-1].event.behind != event.behind:
            self._drop(one)
        if not one.open:
            return
        rax = event.registers.get("rax")
        if not one.open[-1].can_come_back(rax):
            if len(one.open) > 1:
                self._drop(one)
            else:
                yield one.open.pop().passage
            return
        came_back = one.open.pop()
        yield from (other.passage for other in one.open)  # they were not under way: they failed
        one.open.clear()
        passage = came_back.passage
        if rax != passage.rax:  # what was read at VMRUN was out of date
            passage.rax, passage.before, passage.last = rax, None, None
        if event.vmcb:
            passage.after = Vmcb(event.vmcb)
            if rax is not None:
                self._left[rax] = passage.after
        passage.came_back = True
        passage.registers = event.registers
        passage.guest = event.instructions - came_back.event.instructions - 1
        one.ended, one.ended_at = passage, event.instructions

    def _drop(self, one: _Processor) -> None:
        """The latest VMRUN was one that a guest tried."""
        one.open.pop()
        self.attempts += 1
        self._count -= 1
