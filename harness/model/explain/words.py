"""A verdict in words: one line that says why, then the requirements and the smallest change; and the same as data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

from pydantic import BaseModel, ConfigDict

from harness.model.explain.evidence import Vmrun
from harness.model.instruction import NEEDS_PAGE, is_virtual
from harness.model.rule import Change, Violation, becoming, bits_of, value_of
from harness.model.state import State
from harness.model.verdict import Outcome, judge

_FEW = 3


class _Plain(BaseModel):
    model_config = ConfigDict(frozen=True)


class Mend(_Plain):
    """The smallest change that makes a field legal; numbers are written as hex.

    The bits of ``mask`` become those of ``value``, and the field then holds ``becomes``. Of a virtual address that no
    page table was there for only the words can be given.
    """

    field: str
    words: str
    mask: str | None = None
    value: str | None = None
    becomes: str | None = None


class Finding(_Plain):
    """One broken rule. ``offset`` is the field's place in the VMCB, if it is one of its; numbers are written as hex."""

    requirements: tuple[str, ...]
    section: str
    effect: str
    field: str
    offset: str | None
    value: str
    why: str
    rule: str


class Missing(_Plain):
    """A fact that is not known, and the requirements that could not be judged without it."""

    fact: str
    requirements: tuple[str, ...]


class Explanation(_Plain):
    """What VMRUN must do, what it did where that was seen, why, and what could not be judged for want of which fact.

    ``judged`` is how many VMRUNs were looked at, up to this one; ``note`` is what else one must know.
    """

    outcome: str
    did: str | None = None
    where: str = ""
    rax: str | None = None
    cpl: int | None = None
    cs: str | None = None
    lines: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    mends: tuple[Mend, ...] = ()
    missing: tuple[Missing, ...] = ()
    judged: int = 1
    note: str = ""

    @property
    def status(self) -> int:
        """For the shell: 1 when a rule is broken, 0 when all is legal, 2 when nothing can be said."""
        if self.findings:
            return 1
        refused = self.did is not None and Outcome(self.did).fails
        return 0 if self.outcome == Outcome.RUNS and not refused else 2

    def text(self) -> str:
        """For a person."""
        return "\n".join(_text(self))


def explain(vmrun: Vmrun, judged: int = 1, note: str = "") -> Explanation:
    """One VMRUN explained; ``judged`` is how many were looked at, this one included."""
    state = vmrun.state
    verdict = judge(state)
    wrong = (*verdict.because, *verdict.besides)
    missing: dict[str, list[str]] = {}
    for doubt in verdict.doubts:
        missing.setdefault(doubt.missing, []).append(doubt.requirements[0])
    return Explanation(
        outcome=verdict.outcome.value,
        did=vmrun.did.value if vmrun.did is not None else None,
        where=vmrun.where,
        rax=None if state.rax is None else f"{state.rax:#x}",
        cpl=state.host.cpl,
        cs=None if vmrun.cs is None else f"{vmrun.cs:#x}",
        lines=tuple(_reasons(verdict.because)),
        findings=tuple(map(_finding, wrong)),
        mends=tuple(mend for _, some in _by_field(wrong) if (mend := _mend(state, some)) is not None),
        missing=tuple(Missing(fact=fact, requirements=tuple(without)) for fact, without in missing.items()),
        judged=judged,
        note=note,
    )


def _by_field(violations: Iterable[Violation]) -> Iterator[tuple[str, list[Violation]]]:
    for field, group in groupby(sorted(violations, key=lambda one: one.field), key=lambda one: one.field):
        yield field, list(group)


def _reasons(violations: Iterable[Violation]) -> Iterator[str]:
    """One sentence for each field that is wrong, with the section."""
    for field, wrong in _by_field(violations):
        yield f"{_about_rax(wrong) if field == 'rAX' else _about(wrong)} ({wrong[0].section})"


def _about(wrong: list[Violation]) -> str:
    first = wrong[0]
    name = f"the host's {first.field.removeprefix('host.').upper()}" if first.field[:5] == "host." else first.field
    if first.offset is not None:
        name = f"{first.field.upper()} (VMCB {first.offset:03X}h)"
    return f"{name} is {first.value:#x}: {'; '.join(one.why for one in wrong)}"


def _about_rax(wrong: list[Violation]) -> str:
    address = wrong[0].value
    beyond = [one for one in wrong if one.requirement == "SVM-15.5.1-005"]
    virtual = is_virtual(address) or any("virtual" in one.why for one in beyond)
    words = ["virtual"] * virtual + ["unaligned"] * (len(wrong) > len(beyond))
    what = f"{'an' if words[:1] == ['unaligned'] or not words else 'a'} {', '.join(words)} address".replace("  ", " ")
    behind = " beyond physical memory" if beyond and not virtual else ""
    return f"rAX={address:#x} is {what}{behind}; {NEEDS_PAGE}"


def _finding(one: Violation) -> Finding:
    return Finding(
        requirements=one.requirements,
        section=one.section,
        effect=str(one.effect),
        field=one.field,
        offset=None if one.offset is None else f"{one.offset:#x}",
        value=f"{one.value:#x}",
        why=one.why,
        rule=one.says,
    )


def _mend(state: State, wrong: list[Violation]) -> Mend | None:
    """All changes of one field together; ``None`` where one of them cannot be computed."""
    field = wrong[0].field
    changes = [one.change for one in wrong if one.change is not None]
    if len(changes) < len(wrong):
        if field != "rAX":
            return None
        page = f"{value_of(state, field) & -0x1000:#x}"
        return Mend(field=field, words=f"rAX = the physical address that the host's page tables have for {page}")
    old = new = value_of(state, field)
    for change in changes:
        new = change.of(new)
    whole = becoming(field, old, new)
    words = f"{_words(whole)}: {field} = {new:#x}"
    return Mend(field=field, words=words, mask=f"{whole.mask:#x}", value=f"{whole.value:#x}", becomes=f"{new:#x}")


def _words(change: Change) -> str:
    if change.field == "rAX":
        return "the address of the page"
    words = [f"set {bits_of(change.field, change.value)}"] if change.value else []
    cleared = change.mask & ~change.value
    return " and ".join([*words, *([f"clear {bits_of(change.field, cleared)}"] if cleared else [])])


def _text(it: Explanation) -> Iterator[str]:
    at = f" at {it.where}" if it.where else ""
    told = ", ".join(filter(None, ("" if it.cpl is None else f"CPL {it.cpl}", f"CS={it.cs}" if it.cs else "")))
    if it.lines:
        first, *others = it.lines
        what = "undefined: VMRUN" if it.outcome == Outcome.UNDEFINED else f"{it.outcome} on VMRUN"
        yield f"{what}{at}" + (f" ({told})" if told else "") + f": {first}"
        yield from (f"and {line}" for line in others)
    elif it.outcome == Outcome.RUNS:
        yield f"{it.judged} VMRUNs, all legal" if it.judged > 1 else f"VMRUN{at}: legal, it breaks no rule"
    else:
        yield f"VMRUN{at}: it breaks no rule that can be judged with what is known"
    if it.note:
        yield f"  {it.note}"
    said = ""
    for one in it.findings:
        later = one.effect != it.outcome
        rule = f"  {one.requirements[0]:<17} {one.rule}" + (f" [{one.effect}]" if later else "")
        if rule != said:  # several fields may break the same
            yield (said := rule)
        if later:
            yield f"  {'':<17} {one.field} is {one.value}: {one.why}"
    yield from (f"  smallest change   {mend.words}" for mend in it.mends)
    for absent in it.missing:
        without = absent.requirements
        which = ", ".join(without) if len(without) <= _FEW else f"{len(without)} rules"
        yield f"  not judged        {which}, for want of {absent.fact}"
