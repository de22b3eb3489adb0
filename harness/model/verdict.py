"""The verdict on a state: what VMRUN must do with it, and why.

>>> from harness.model.guests import Mode, guest
>>> legal = State(rax=0x1000, vmcb=guest(Mode.REAL))
>>> judge(legal).outcome
<Outcome.RUNS: 'runs'>
>>> bad = legal.with_field("cr0", 1 << 29)
>>> print(judge(bad))
VMEXIT_INVALID: NW is 1 while CD is 0 (SVM-15.5.1-C-002)
>>> judge(mended(bad)[0]).outcome
<Outcome.RUNS: 'runs'>
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from harness.model.cpuid import VMCB_CLEAN, Unknown
from harness.model.rule import VMRUN, Change, Doubt, Effect, Violation
from harness.model.state import State

_ROUNDS = 64


class Outcome(StrEnum):
    """What VMRUN does; *deviation* is for what a processor did and must not have (:func:`harness.model.judge_exit`)."""

    UD = Effect.UD.value
    GP = Effect.GP.value
    INVALID = Effect.INVALID.value
    UNDEFINED = Effect.UNDEFINED.value
    DEVIATION = Effect.DEVIATION.value
    UNKNOWN = "unknown"
    RUNS = "runs"

    @property
    def fails(self) -> bool:
        """Whether the guest must not run."""
        return self in (Outcome.UD, Outcome.GP, Outcome.INVALID)


_ORDER = (Effect.UD, Effect.GP, Effect.INVALID, Effect.UNDEFINED, Effect.DEVIATION)
"""What is looked at first decides: #UD before #GP, and both before the VMCB is read."""


@dataclass(frozen=True)
class Verdict:
    """All violations, in the order of the rules, and all rules that could not be judged."""

    violations: tuple[Violation, ...] = ()
    doubts: tuple[Doubt, ...] = ()

    @property
    def outcome(self) -> Outcome:
        """What VMRUN must do: fail in the way of the violation that comes first, run, or what cannot be said."""
        effects = {violation.effect for violation in self.violations}
        for effect in _ORDER:
            if effect in effects:
                return Outcome(effect.value)
        return Outcome.UNKNOWN if self.doubts else Outcome.RUNS

    @property
    def sure(self) -> bool:
        """Whether no doubt could change the outcome."""
        if self.outcome in (Outcome.UNKNOWN, Outcome.RUNS):
            return not self.doubts
        first = _ORDER.index(Effect(self.outcome.value))
        return all(_ORDER.index(doubt.effect) >= first for doubt in self.doubts)

    @property
    def because(self) -> tuple[Violation, ...]:
        """The violations that decide the outcome."""
        return tuple(one for one in self.violations if one.effect == self.outcome.value)

    @property
    def besides(self) -> tuple[Violation, ...]:
        """The others: what would come next if those were mended, or what stays open."""
        return tuple(one for one in self.violations if one.effect != self.outcome.value)

    @property
    def missing(self) -> tuple[str, ...]:
        """The facts that would settle the doubts."""
        return tuple(dict.fromkeys(doubt.missing for doubt in self.doubts))

    def __str__(self) -> str:
        reasons = [f"{one.why} ({one.requirement})" for one in self.because] or list(self.missing)
        return f"{self.outcome}: {'; '.join(reasons)}" if reasons else str(self.outcome)


def judge(state: State) -> Verdict:
    """Judge a state by every rule."""
    violations, doubts = VMRUN.weigh(state)
    return Verdict(tuple(_behind_clean_bits(state, violation) for violation in violations), doubts)


def mended(state: State) -> tuple[State, tuple[Change, ...]]:
    """The state with every violation mended that says how, and the changes in the order made."""
    made: list[Change] = []
    for _ in range(_ROUNDS):
        change = next((one.change for one in judge(state).violations if one.change is not None), None)
        if change is None:
            break
        state = change.apply(state)
        made.append(change)
    return state, tuple(made)


_CLEAN: dict[str, int] = {
    **dict.fromkeys(("intercept_misc1", "intercept_misc2", "intercept_exceptions"), 0),
    **dict.fromkeys(("iopm_base_pa", "msrpm_base_pa"), 1),
    "guest_asid": 2,
    "vintr": 3,
    **dict.fromkeys(("n_cr3", "g_pat", "nested_control"), 4),
    **dict.fromkeys(("cr0", "cr3", "cr4", "efer"), 5),
    **dict.fromkeys(("dr6", "dr7"), 6),
    "cs.attrib": 8,
    **dict.fromkeys(("avic_backing_page", "avic_logical_table", "avic_physical_table"), 11),
    "s_cet": 12,
}
"""Which clean bit covers a field (SVM-15.15-006 to -018); the others are always read (SVM-15.15-019)."""


def _behind_clean_bits(state: State, violation: Violation) -> Violation:
    """What stands behind a set clean bit may not be noticed (SVM-15.5.1-C-030)."""
    bit = _CLEAN.get(violation.field)
    if violation.effect is not Effect.INVALID or bit is None or not state["vmcb_clean"] >> bit & 1:
        return violation
    try:
        if not state.cpuid.has(VMCB_CLEAN):
            return violation
    except Unknown:
        pass
    why = f"{violation.why} (clean bit {bit} is set, so this may not be noticed)"
    return replace(violation, why=why, effect=Effect.UNDEFINED)
