"""Where an observation comes from: faults that were real or injected, and the layer that answered."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from pydantic import BaseModel

from harness import ledger as ledgers
from harness.boot import Boot, Fault, Insn
from harness.ledger import Evidence, Ledger
from harness.msr import CPUID_SVM, SVML, Msr, VmCr


class Origin(StrEnum):
    """How software came to see what a fault says."""

    REAL = "real"
    """The machine was configured so, as firmware or another processor would have it."""
    INJECTED = "injected"
    """The debugger changed what the instruction had returned."""
    NOT_MET = "not met"
    """The software never executed the instruction."""


@dataclass(frozen=True)
class Told:
    """What software was told: ``SVMDIS and LOCK``, ``no SVML``; what that is about: ``SVMDIS``, ``SVML``; and how."""

    what: str
    about: str
    how: Origin

    def __str__(self) -> str:
        return f"{self.what}: {self.how}"


class _Step(BaseModel):
    answered_by: str = ""


class _Event(_Step):
    insn: Insn
    before: dict[str, int]
    tampered: bool = False


class _Program(BaseModel):
    steps: list[_Step] = []
    layers: list[str] = []


class _Boot(BaseModel):
    boot: Boot
    arranged: tuple[Fault, ...] = ()
    trace: list[_Event] = []
    layers: list[str] = []


class Glance(BaseModel):
    """Of a piece of evidence only what tells where it comes from: to read that alone is ten times as fast."""

    observation: _Boot | None = None
    seen: _Program | None = None


_NOTHING = Glance()


_TELLING = re.compile(rb'"(?:faults|layers)":\[[^\]]|"answered_by":"[^"]')
"""Where there are faults, layers, or one that answered. Inside of a text the quotes have backslashes before them."""


def glance(ledger: Ledger, id: str) -> Glance:
    """Look at a piece of a ledger's evidence; most say nothing of this, which shows without reading them."""
    raw = ledgers.raw(ledger, id)
    return Glance.model_validate_json(raw) if _TELLING.search(raw) else _NOTHING


def told(evidence: Evidence | Glance) -> tuple[Told, ...]:
    """Every fault of a boot, in its order."""
    seen = evidence.observation
    if seen is None:
        return ()
    lies = [event for event in seen.trace if event.tampered]
    return tuple(
        Told(
            *_called(fault),
            Origin.REAL
            if fault in seen.arranged
            else Origin.INJECTED
            if any(fault.applies(event.insn, event.before) for event in lies)
            else Origin.NOT_MET,
        )
        for fault in seen.boot.faults
    )


def answered(evidence: Evidence | Glance) -> tuple[str, ...]:
    """The layers that answered, where the engine can tell, in the order in which they are met."""
    steps = evidence.seen.steps if evidence.seen else ()
    events = evidence.observation.trace if evidence.observation else ()
    return tuple(dict.fromkeys(one.answered_by for one in (*steps, *events) if one.answered_by))


def _called(fault: Fault) -> tuple[str, str]:
    """A fault in the manual's words, at length and in one; where we have none, in our own."""
    on, off = next(iter(fault.force.values()), (0, 0))
    if fault.insn is Insn.RDMSR and fault.select == Msr.VM_CR and not fault.skip:
        if on & VmCr.SVMDIS:
            return "SVMDIS and LOCK" if on & VmCr.LOCK else "SVMDIS", "SVMDIS"
        return f"VM_CR = {VmCr(on).name or f'{on:#x}'}" if on else "VM_CR = 0", "VM_CR"
    if fault.insn is Insn.CPUID and fault.select == CPUID_SVM and (on | off) == SVML:
        return "SVML" if on else "no SVML", "SVML"
    return str(fault), str(fault.insn).upper()
