"""What a rule is, what a violation says, and the registry of all rules.

A rule is a small function that looks at a :class:`State` and yields what is wrong with it::

    @rule("SVM-15.5.1-C-002", permits=("SVM-15.5.1-C-003",))
    def nw_without_cd(state: State) -> Iterator[Violation]:
        \"\"\"CR0.NW may be set only together with CR0.CD.\"\"\"

The decorator says by which requirements of the catalogue; the feature gate of the first one decides on which processors
the rule exists at all. A rule that asks for a fact that is not known (:class:`harness.model.cpuid.Unknown`) is neither
kept nor broken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import Generic, Protocol, TypeVar

from harness.machine.vmcb import FIELDS
from harness.model import registers
from harness.model.cpuid import Cpuid, Unknown
from harness.model.state import State
from harness.spec import catalogue
from harness.spec.gate import Gate


class Effect(StrEnum):
    """What follows from a violation."""

    UD = "#UD"
    GP = "#GP(0)"
    INVALID = "VMEXIT_INVALID"
    UNDEFINED = "undefined"
    """Software must not do it; the manual leaves open what the processor then does, or processors differ."""
    DEVIATION = "deviation"
    """The processor did what it must not (:mod:`harness.model.saves`)."""


@dataclass(frozen=True)
class Change:
    """A change of one field: the bits of ``mask`` become those of ``value``, all others stay."""

    field: str
    mask: int
    value: int

    def of(self, old: int) -> int:
        """What it makes of a value."""
        return old & ~self.mask | self.value

    @property
    def bits(self) -> int:
        """How many bits it is about."""
        return self.mask.bit_count()

    def apply(self, state: State) -> State:
        """The state with it made."""
        return state.with_field(self.field, self.of(value_of(state, self.field)))


@dataclass(frozen=True)
class Violation:
    """One broken rule.

    ``field`` is the VMCB's field by its name in :data:`harness.machine.vmcb.FIELDS`, ``rAX``, or a register of the host
    (``host.efer``). ``why`` says what is wrong with ``value``, and ``change`` is the smallest change that mends it,
    where it can be computed. The decorator fills in the rest: ``requirements``, what the rule ``says``, its ``effect``.
    """

    field: str
    value: int
    why: str
    change: Change | None = None
    requirements: tuple[str, ...] = ()
    says: str = ""
    effect: Effect | None = None

    @property
    def requirement(self) -> str:
        """The requirement that it breaks first of all."""
        return self.requirements[0]

    @property
    def section(self) -> str:
        """Where the manual says so."""
        return catalogue.load()[self.requirement].section

    @property
    def offset(self) -> int | None:
        """The field's place in the VMCB, if it is one of its fields."""
        return FIELDS[self.field].offset if self.field in FIELDS else None


class Subject(Protocol):
    """What a rule looks at."""

    @property
    def cpuid(self) -> Cpuid:
        """What the processor reports."""


S = TypeVar("S", bound=Subject)
Check = Callable[[S], Iterator[Violation]]


@dataclass(frozen=True)
class Rule(Generic[S]):
    """A rule. ``permits`` are requirements that call legal what is just beside what it forbids."""

    name: str
    requirements: tuple[str, ...]
    permits: tuple[str, ...]
    effect: Effect
    says: str
    check: Check[S]

    def __call__(self, subject: S) -> tuple[Violation, ...]:
        """How it is broken, on a processor where it exists; raise :class:`Unknown` when that cannot be said."""
        found = tuple(self.check(subject))
        if not found or not subject.cpuid.meets(self.gate):
            return ()
        return tuple(
            replace(one, requirements=self.requirements, says=self.says, effect=one.effect or self.effect)
            for one in found
        )

    @cached_property
    def gate(self) -> Gate:
        """What CPUID must report for the rule to exist."""
        return catalogue.load()[self.requirements[0]].feature_gate

    @property
    def cites(self) -> tuple[str, ...]:
        """Every requirement that it is about."""
        return self.requirements + self.permits


@dataclass(frozen=True)
class Doubt:
    """A rule that could not be judged, and the fact that is missing."""

    rule: str
    requirements: tuple[str, ...]
    effect: Effect
    missing: str


class Book(Generic[S]):
    """Rules about one kind of thing, in the order in which they were written down."""

    def __init__(self, effect: Effect) -> None:
        self._effect = effect
        self._rules: list[Rule[S]] = []

    def rule(
        self, *requirements: str, permits: tuple[str, ...] = (), effect: Effect | None = None
    ) -> Callable[[Check[S]], Rule[S]]:
        """Make a function a rule, by the requirements that it checks; its docstring's first line is what it says.

        ``effect`` is what follows from breaking it, unless the violation says otherwise.
        """

        def register(check: Check[S]) -> Rule[S]:
            says = (check.__doc__ or "").strip().partition("\n")[0].rstrip(".")
            made = Rule(check.__name__, requirements, permits, effect or self._effect, says, check)
            self._rules.append(made)
            return made

        return register

    @property
    def rules(self) -> tuple[Rule[S], ...]:
        """All of them."""
        return tuple(self._rules)

    def weigh(self, subject: S) -> tuple[tuple[Violation, ...], tuple[Doubt, ...]]:
        """What is broken, and what cannot be said, each in the order of the rules."""
        violations: list[Violation] = []
        doubts: list[Doubt] = []
        for one in self._rules:
            try:
                violations += one(subject)
            except Unknown as unknown:
                doubts.append(Doubt(one.name, one.requirements, one.effect, str(unknown)))
        return tuple(violations), tuple(doubts)


VMRUN: Book[State] = Book(Effect.INVALID)
"""The rules of VMRUN, in the order in which it is best understood: the instruction, the VMCB, what is left open."""

rule = VMRUN.rule


def rules() -> tuple[Rule[State], ...]:
    """Every rule of VMRUN, in a stable order."""
    return VMRUN.rules


def value_of(state: State, field: str) -> int:
    """A field's value by the names that violations use."""
    if field == "rAX":
        return state.address
    if field.startswith("host."):
        return state.host[field.removeprefix("host.")]  # type: ignore[index]
    return state[field]


def setting(field: str, *bits: int) -> Change:
    """Set these bits."""
    mask = sum(bits)
    return Change(field, mask, mask)


def clearing(field: str, mask: int) -> Change:
    """Clear these bits."""
    return Change(field, int(mask), 0)


def becoming(field: str, old: int, new: int) -> Change:
    """Change exactly the bits in which two values differ."""
    return Change(field, old ^ new, new & (old ^ new))


def nearest(value: int, legal: Iterator[int] | range | tuple[int, ...]) -> int:
    """Of some values the one that differs in the fewest bits; the first of several."""
    return min(legal, key=lambda one: (one ^ value).bit_count())


def bits_of(field: str, value: int) -> str:
    """Bits for a person: ``NW (bit 29)``, ``bits 63, 40``."""
    numbers = [n for n in range(value.bit_length() - 1, -1, -1) if value >> n & 1]
    named = [f"{name} (bit {n})" if (name := registers.name(field, n)) else f"bit {n}" for n in numbers]
    if len(numbers) > 4 and numbers == list(range(numbers[0], numbers[-1] - 1, -1)):
        return f"bits {numbers[0]}:{numbers[-1]}"
    if len(named) <= 4:
        return ", ".join(named)
    return f"bits {value:#x}"
