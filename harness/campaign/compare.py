"""What engines made of a specimen, against the model and against each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from harness.campaign import finding as kinds
from harness.campaign.finding import Finding
from harness.campaign.specimen import NAME, Specimen, Twist
from harness.lab.runner import Done
from harness.lab.seen import VmrunSeen
from harness.lab.steps import HSAVE
from harness.machine.ending import How
from harness.machine.vmcb import FIELDS
from harness.model import Cpuid, Outcome, Passage, State, exits, judge, judge_exit
from harness.model.intercepts import INTERCEPTS
from harness.model.registers import Efer
from harness.model.state import HOST, Processor

_FAULTS = {6: Outcome.UD, 13: Outcome.GP}
_CERTAIN = (Outcome.RUNS, Outcome.UD, Outcome.GP, Outcome.INVALID)
_VMRUN_STEP = 2
_LOOSE = ("exitinfo1", "exitinfo2", "nrip", "exitcode")


@dataclass(frozen=True)
class Reading:
    """What one engine did: VMRUN's outcome, the VMCB around it; ``died`` says why there is none."""

    cpuid: Cpuid
    vmrun: VmrunSeen | None
    died: str = ""

    @property
    def outcome(self) -> Outcome | None:
        """What VMRUN came to."""
        if self.vmrun is None:
            return None
        if self.vmrun.step.vector is not None:
            return _FAULTS.get(self.vmrun.step.vector)
        return Outcome.INVALID if self.vmrun.refused else Outcome.RUNS

    @property
    def words(self) -> str:
        """The same for a person."""
        if self.vmrun is None:
            return self.died
        if isinstance(self.vmrun.exit, str):
            return f"fault {self.vmrun.exit}"
        return "VMEXIT_INVALID" if self.vmrun.refused else f"VMEXIT_{exits.name(self.vmrun.exit)}"


def reading(done: Done, cpuid: Cpuid) -> Reading:
    """What one engine did with one specimen."""
    if done.ended.how is not How.EXITED or len(done.steps()) <= _VMRUN_STEP:
        return Reading(cpuid, None, f"the machine {done.ended.how.value} in step {done.under_way or 'none'}")
    return Reading(cpuid, done.seen().vmrun(NAME))


def findings(specimen: Specimen, readings: Mapping[str, Reading]) -> Iterator[Finding]:
    """Every disagreement, each engine's with the model first."""
    seen = {name: one.words for name, one in readings.items()}
    open_to_all: dict[str, VmrunSeen] = {}
    for name, one in readings.items():
        judged = list(_judged(one))
        for kind, requirement, field, expected in judged:
            yield Finding(
                kind=kind, engines=(name,), requirement=requirement, field=field, expected=expected, seen=seen,
                specimen=specimen,
            )  # fmt: skip
        if judged or one.vmrun is None or not _must_run(one):
            continue
        if (wrong := _exit_of(specimen, one)) is None:
            open_to_all[name] = one.vmrun
            continue
        yield Finding(
            kind=kinds.EXIT, engines=(name,), requirement=wrong[0], field="exitcode", expected=wrong[1], seen=seen,
            specimen=specimen,
        )  # fmt: skip
    yield from _apart(specimen, open_to_all)


def _judged(one: Reading) -> Iterator[tuple[str, str, str, str]]:
    """Kind, requirement, field and what was expected, of everything that an engine must not have done."""
    if one.vmrun is None:
        yield kinds.DIED, "", "ending", "VMRUN comes back"
        return
    verdict = judge(_state(one))
    if verdict.sure and verdict.outcome in _CERTAIN and one.outcome is not verdict.outcome:
        because = verdict.because[0] if verdict.because else None
        expected = f"{verdict.outcome}" + (f": {because.why}" if because else "")
        yield kinds.MODEL, because.requirement if because else "", because.field if because else "VMRUN", expected
        return
    if one.outcome in (Outcome.RUNS, Outcome.INVALID):
        passage = Passage(one.vmrun.before, one.vmrun.after, one.cpuid)
        for violation in judge_exit(passage).violations:
            yield kinds.EXIT, violation.requirement, violation.field, f"{violation.says}; {violation.why}"


def _must_run(one: Reading) -> bool:
    verdict = judge(_state(one))
    return verdict.sure and verdict.outcome is Outcome.RUNS


def _state(one: Reading) -> State:
    assert one.vmrun is not None
    host: Processor = replace(HOST, cpuid=one.cpuid, efer=Efer.SVME | Efer.LME | Efer.LMA | Efer.NXE, vm_hsave_pa=HSAVE)
    return State(host, one.vmrun.step.registers["rax"], one.vmrun.before)


def _exit_of(specimen: Specimen, one: Reading) -> tuple[str, str] | None:
    """Of a guest whose changes bring no event of their own: its intercepted instruction must be what ends it."""
    quiet = all(_is_quiet(twist) for twist in specimen.twists)
    assert one.vmrun is not None
    if not quiet or one.vmrun.exit == specimen.expected:
        return None
    requirement = INTERCEPTS[specimen.action].requirements[0]
    return requirement, f"VMEXIT_{exits.name(specimen.expected)}: {specimen.action} is intercepted"


def _is_quiet(twist: Twist) -> bool:
    """Whether the change has no part in what the guest executes, nor in which events come to it."""
    return twist.field in _QUIET or (twist.field in _BASES and not twist.mask & _PAGE_NUMBER)


_QUIET = frozenset(
    {"guest_asid", "tlb_control", "tsc_offset", "exitintinfo", "cs.selector", "intercept_exceptions", "ldtr.attrib",
     "tr.attrib"}
)  # fmt: skip
_BASES = frozenset({"iopm_base_pa", "msrpm_base_pa", "cr3"})
_PAGE_NUMBER = ~0xFFF
"""With other tables or maps, or none where there is no memory, a guest is another."""


def _apart(specimen: Specimen, seen: Mapping[str, VmrunSeen]) -> Iterator[Finding]:
    """Engines that all did what they may, and not the same: by exit code, or by what they left in a field."""
    if len(seen) < 2:
        return
    codes = {name: one.exit for name, one in seen.items()}
    if len(set(codes.values())) > 1:
        words = {name: f"VMEXIT_{exits.name(c) if isinstance(c, int) else c}" for name, c in codes.items()}
        yield _differ(specimen, "exitcode", words)
        return
    for field in FIELDS:
        values = {name: one.after[field] for name, one in seen.items()}
        if field not in _LOOSE and len(set(values.values())) > 1:
            before = {name: one.before[field] for name, one in seen.items()}
            yield _differ(specimen, field, {n: "changed" if values[n] != before[n] else "kept" for n in values})


def _differ(specimen: Specimen, field: str, words: dict[str, str]) -> Finding:
    return Finding(
        kind=kinds.DIFFER, engines=tuple(words), field=field, expected="the model leaves it open", seen=words,
        specimen=specimen,
    )  # fmt: skip
