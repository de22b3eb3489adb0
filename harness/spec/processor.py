"""What CPUID reports on one engine's CPU model: asked of the processor itself, by the probe.

An engine says of its models only whether they have SVM and nested paging; for every other feature the probe boots there
once a run, and what it saw goes into the ledger, so that a skip can be judged again like any verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from harness.boot import Fault, Insn
from harness.engines.base import CpuModel
from harness.errors import EngineError
from harness.lab.program import Program
from harness.lab.seen import Seen
from harness.lab.steps import cpuid
from harness.spec.gate import Cpuid, Gate

_BASIC, _EXTENDED = 0, 0x8000_0000
LEAVES = (_BASIC, 1, 7, _EXTENDED, *(_EXTENDED + n for n in (0x1, 0x8, 0xA, 0x1F, 0x21, 0x22)))
"""Every leaf that a gate may name, and those that tell which leaves there are."""

PROGRAM = Program(steps=tuple(map(cpuid, LEAVES)))
"""Reads them all."""

_KNOWN = Gate.parse("Fn8000_0001_ECX[2] and Fn8000_000A_EDX[0]").bits


def missing(gate: Gate, model: CpuModel, ask: Callable[[], Seen], faults: Iterable[Fault] = ()) -> str:
    """Which CPUID bits keep a requirement from applying there; empty when it applies.

    :param ask: lets the probe execute :data:`PROGRAM`; called only when the model's own words do not suffice.
    :param faults: what CPUID shall be made to say.
    """
    if all(bit in _KNOWN for bit in gate.bits):
        return gate.missing(_told(of_model(model), faults))
    return gate.missing(_told(of_probe(ask()), faults))


def of_model(model: CpuModel) -> Cpuid:
    """CPUID as far as an engine tells it: SVM and NP."""
    return lambda leaf, register: {
        (0x8000_0001, "ECX"): model.svm << 2,
        (0x8000_000A, "EDX"): int(model.npt),
    }.get((leaf, register), 0)


def of_probe(seen: Seen) -> Cpuid:
    """CPUID as the probe read it; raise :class:`EngineError` when it could not."""
    if len(seen.steps) < len(LEAVES):
        raise EngineError(f"{seen.engine}: the probe could not read CPUID: the machine {seen.ended}")
    read = {leaf: step.registers for leaf, step in zip(LEAVES, seen.steps, strict=True)}

    def cpuid(leaf: int, register: str) -> int:
        last = read[leaf & _EXTENDED]["rax"] & 0xFFFF_FFFF
        return read[leaf][f"r{register[1:].lower()}"] & 0xFFFF_FFFF if leaf <= last else 0

    return cpuid


def _told(cpuid: Cpuid, faults: Iterable[Fault]) -> Cpuid:
    """The same with the lies that a case tells."""

    def lying(leaf: int, register: str) -> int:
        value = cpuid(leaf, register)
        for fault in faults:
            if fault.insn is Insn.CPUID and fault.select in (None, leaf):
                on, off = fault.force.get(f"r{register[1:].lower()}", (0, 0))
                value = (value | on) & ~off
        return value

    return lying
