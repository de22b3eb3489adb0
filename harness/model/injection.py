"""Event injection (15.20): an illegal request ends VMRUN in VMEXIT_INVALID (SVM-15.5.1-C-023).

Where several changes would mend a request the one offered is to ask for nothing (V=0): it is one bit, and any other
would ask for another event.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum

from harness.model.cpuid import SEV_ES, SHADOW_STACKS
from harness.model.registers import Event
from harness.model.rule import Change, Effect, Violation, bits_of, clearing, rule
from harness.model.state import State

FIELD = "eventinj"
_ILLEGAL = "SVM-15.5.1-C-023"
_NOTHING = clearing(FIELD, Event.V)
_TYPE, _RESERVED = 7 << 8, 0x7FFF_F000


class Kind(IntEnum):
    """The types of an event, bits 10:8; the others are reserved."""

    INTERRUPT = 0
    NMI = 2
    EXCEPTION = 3
    SOFTWARE_INTERRUPT = 4


EXCEPTIONS = {
    **{0: "#DE", 1: "#DB", 3: "#BP", 4: "#OF", 5: "#BR", 6: "#UD", 7: "#NM", 8: "#DF", 10: "#TS", 11: "#NP", 12: "#SS"},
    **{13: "#GP", 14: "#PF", 16: "#MF", 17: "#AC", 18: "#MC", 19: "#XF", 21: "#CP", 28: "#HV", 29: "#VC", 30: "#SX"},
}
"""The vectors below 32 that are exceptions, with their names (vol. 2, table 8-1)."""

_OF_FEATURES = {21: SHADOW_STACKS, 28: SEV_ES, 29: SEV_ES}
"""Exceptions that exist with a feature only; whether others may be injected without it the manual does not say."""


@rule("SVM-15.20-007", _ILLEGAL, permits=("SVM-15.20-003", "SVM-15.20-005", "SVM-15.20-006", "SVM-15.20-021"))
def reserved_type(state: State) -> Iterator[Violation]:
    """The event's type must be 0, 2, 3 or 4."""
    event = state[FIELD]
    kind = event >> 8 & 7
    if event & Event.V and kind not in tuple(Kind):
        yield Violation(FIELD, event, f"type {kind} is reserved", _NOTHING)


@rule("SVM-15.20-008", _ILLEGAL, permits=("SVM-15.20-004",))
def exception_nmi(state: State) -> Iterator[Violation]:
    """An NMI must be injected with its own type, not as an exception with vector 2."""
    if _vector(state, Kind.EXCEPTION) == 2:
        yield Violation(FIELD, state[FIELD], "an exception with vector 2", Change(FIELD, 1 << 8, 0))


@rule("SVM-15.20-009", _ILLEGAL)
def exception_above_31(state: State) -> Iterator[Violation]:
    """An exception's vector must be below 32."""
    vector = _vector(state, Kind.EXCEPTION)
    if vector is not None and vector > 31:
        yield Violation(FIELD, state[FIELD], f"an exception with vector {vector}", _NOTHING)


@rule("SVM-15.20-010", _ILLEGAL)
def exception_reserved(state: State) -> Iterator[Violation]:
    """An exception's vector must be that of an exception."""
    vector = _vector(state, Kind.EXCEPTION)
    if vector is not None and vector < 32 and vector != 2 and vector not in EXCEPTIONS:
        yield Violation(FIELD, state[FIELD], f"no exception has vector {vector}", _NOTHING)


@rule("SVM-15.20-011", _ILLEGAL)
def impossible_in_64_bit_mode(state: State) -> Iterator[Violation]:
    """#OF and #BR must not be injected into a guest in 64-bit mode, where no instruction raises them."""
    vector = _vector(state, Kind.EXCEPTION)
    if vector in (4, 5) and state.guest.in_64_bit:
        yield Violation(FIELD, state[FIELD], f"{EXCEPTIONS[vector]} in 64-bit mode", _NOTHING)


@rule("SVM-15.20-010", effect=Effect.UNDEFINED)
def exception_of_absent_feature(state: State) -> Iterator[Violation]:
    """An exception should be one that this processor can raise."""
    vector = _vector(state, Kind.EXCEPTION)
    feature = None if vector is None else _OF_FEATURES.get(vector)
    if vector is not None and feature is not None and not state.cpuid.has(feature):
        why = f"{EXCEPTIONS[vector]} where CPUID {feature} ({feature.name}) is 0"
        yield Violation(FIELD, state[FIELD], why, _NOTHING)


@rule("SVM-15.20-019", "SVM-15.20-018", effect=Effect.UNDEFINED)
def software_interrupt(state: State) -> Iterator[Violation]:
    """Software interrupts can be injected only with NRIPS, which gives the return address."""
    if _vector(state, Kind.SOFTWARE_INTERRUPT) is not None:
        yield Violation(FIELD, state[FIELD], "a software interrupt without NRIPS", _NOTHING)


@rule("SVM-15.20-002", permits=("SVM-15.20-012",), effect=Effect.UNDEFINED)
def reserved_bits(state: State) -> Iterator[Violation]:
    """EVENTINJ[30:12] should be 0."""
    event = state[FIELD]
    if event & Event.V and event & _RESERVED:
        change = clearing(FIELD, event & _RESERVED)
        yield Violation(FIELD, event, f"{bits_of(FIELD, event & _RESERVED)} set", change)


def _vector(state: State, kind: Kind) -> int | None:
    """The vector, if there is an event of this kind at all (SVM-15.20-021)."""
    event = state[FIELD]
    return event & 0xFF if event & Event.V and event >> 8 & 7 == kind else None
