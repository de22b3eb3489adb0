"""Which layer answered an instruction: KVM in L1, or the processor below it, which is L0's.

The evidence is the kernel's trace of KVM. An instruction that left the guest was answered by KVM, also where it passed
a fault on; one that left no exit was answered below.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from harness.msr import Msr
from harness.observation import Event

KVM, BELOW = "KVM", "TCG"

_EXIT = re.compile(r"kvm_exit: .*?reason (.+?) rip (?:0x)?([0-9a-f]+)")
_MSR_READ = re.compile(r"kvm_msr: msr_read ([0-9a-f]+)")
_BREAKPOINTS = re.compile(r"^(?:io|EXIT_IOIO)$|(?:DB) excp|excp_0?1$")
_PAGE = 0x1000


@dataclass(frozen=True)
class Exit:
    """The guest was left at ``rip`` for a reason; ``reads`` is the MSR that KVM read for it, if it did."""

    reason: str
    rip: int
    reads: int | None = None

    @property
    def breakpoint(self) -> bool:
        """Whether it was one of ours."""
        return _BREAKPOINTS.search(self.reason) is not None


def exits(trace: str) -> list[Exit]:
    """The exits of a trace, oldest first."""
    found: list[Exit] = []
    for line in trace.splitlines():
        if left := _EXIT.search(line):
            found.append(Exit(left[1].strip(), int(left[2], 16)))
        elif found and (read := _MSR_READ.search(line)):
            found[-1] = Exit(found[-1].reason, found[-1].rip, int(read[1], 16))
    return found


def of_steps(count: int, trace: str, code: int) -> tuple[str, ...]:
    """Who answered each of a program's ``count`` steps; ``code`` is where the probe executes them.

    The probe reads VM_HSAVE_PA behind every step, which KVM always intercepts: that parts the steps. Before the first
    one it may read it, too.
    """
    windows: list[bool] = []
    seen = False
    for one in exits(trace):
        inside = code <= one.rip < code + _PAGE
        seen |= inside and not one.breakpoint
        if not inside and one.reads == Msr.VM_HSAVE_PA:
            windows.append(seen)
            seen = False
    if not count or len(windows) < count:
        return ("",) * count  # the trace is not whole
    return tuple(KVM if by_kvm else BELOW for by_kvm in windows[-count:])


def of_events(events: Sequence[Event], trace: str) -> list[Event]:
    """The events of an observation with who answered each.

    Each event began with a breakpoint of ours at its instruction, which is in the trace as well.
    """
    left = exits(trace)
    told: list[Event] = []
    at = 0
    for event in events:
        rip = event.before["rip"]
        start = next((n for n in range(at, len(left)) if left[n].breakpoint and left[n].rip == rip), None)
        if start is None:
            told.append(event)
            continue
        at = start + 1
        answered = BELOW
        while at < len(left) and not left[at].breakpoint:
            if left[at].rip == rip:
                answered = KVM
            at += 1
        told.append(event.model_copy(update={"answered_by": "" if event.tampered else answered}))
    return told


def summary(answers: Sequence[str]) -> str:
    """What is known of who answered, in a few words."""
    known = [answer for answer in answers if answer]
    if not known:
        return "who answered is not known"
    return f"answered {known.count(KVM)} of {len(answers)} watched instructions, the layer below {known.count(BELOW)}"
