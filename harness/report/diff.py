"""Where two engines differ: the same cases, verdict beside verdict and observation beside observation.

What counts is *behaviour*: the verdict and its reason; how the machine ended, and with which outcome; which steps of a
program faulted, and how; which instructions of a boot were executed, whether they completed, and with which exit code a
guest came back. *Values* (what CPUID or an MSR returned, registers) differ between processor models; they are told
where behaviour differs, or when asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from itertools import zip_longest

from harness.boot import Insn
from harness.errors import SvmconfError
from harness.lab.program import Program
from harness.lab.seen import Seen, StepSeen
from harness.ledger import Entry, Evidence, Ledger, Verdict
from harness.machine.vmcb import Vmcb
from harness.observation import Event, Observation, Tried
from harness.report.evidence import event_text
from harness.report.matrix import observed
from harness.report.provenance import told

_NOTHING = "(nothing)"
Chosen = Callable[[Entry], bool]


@dataclass(frozen=True)
class Side:
    """One engine of a ledger, under a label that tells it from the other."""

    label: str
    version: str
    cpus: tuple[str, ...]
    entries: tuple[Entry, ...]
    evidence: Mapping[str, Evidence] = field(repr=False)

    def __getitem__(self, entry: Entry) -> Evidence:
        return self.evidence.get(entry.evidence, Evidence(id=""))


@dataclass(frozen=True)
class Line:
    """One thing that differs; ``value`` when it is one that processor models may differ in."""

    what: str
    left: str
    right: str
    value: bool = False


@dataclass(frozen=True)
class Difference:
    """A case and variant that came out differently, on all CPU models where it did so in the same way."""

    left: Entry
    right: Entry
    lines: tuple[Line, ...]
    settings: tuple[str, ...]


@dataclass(frozen=True)
class Diff:
    """All differences of two sides; how many settings were compared, were skipped on a side, and stood alone on one."""

    left: Side
    right: Side
    differences: tuple[Difference, ...]
    compared: int
    skipped: int
    alone: tuple[int, int]


def side(ledger: Ledger, engine: str, label: str = "") -> Side:
    """An engine of a ledger; raise :class:`SvmconfError` when it is not in it."""
    header = ledger.header
    if engine in header.unavailable:
        raise SvmconfError(f"{engine} is not in {header.run}: {header.unavailable[engine]}")
    known = {one.name: one for one in header.engines}
    if engine not in known:
        raise SvmconfError(f"{engine} is not in {header.run}", f"it holds: {', '.join(known)}")
    entries = tuple(entry for entry in ledger.entries if entry.engine == engine)
    return Side(label or engine, known[engine].version, tuple(known[engine].cpus), entries, ledger.evidence)


def compare(left: Side, right: Side, chosen: Chosen = lambda _: True, values: bool = False) -> Diff:
    """The differences of two sides; with ``values`` also those in nothing but values."""
    paired, alone = _pairs(left, right, chosen)
    pairs = [pair for pair in paired if all(entry.verdict is not Verdict.SKIP for entry in pair)]
    alike: dict[tuple[str, str, tuple[tuple[str, ...], ...], tuple[Line, ...]], list[tuple[Entry, Entry]]] = {}
    for one, other in pairs:
        lines = tuple(_lines(left[one], right[other]))
        verdicts = observed(one), observed(other)
        if verdicts[0] != verdicts[1] or any(values or not line.value for line in lines):
            alike.setdefault((one.function, one.variant, verdicts, lines), []).append((one, other))
    differences = tuple(
        Difference(*found[0], lines, tuple(_setting(one, other) for one, other in found))
        for (_, _, _, lines), found in alike.items()
    )
    return Diff(left, right, differences, len(pairs), len(paired) - len(pairs), alone)


def _setting(one: Entry, other: Entry) -> str:
    return one.cpu if one.cpu == other.cpu else f"{one.cpu} | {other.cpu}"


def _pairs(left: Side, right: Side, chosen: Chosen) -> tuple[list[tuple[Entry, Entry]], tuple[int, int]]:
    """The entries to compare: of the same case and variant, on the same CPU model, or else the n-th of either side."""
    pairs: list[tuple[Entry, Entry]] = []
    ours, theirs = (_by_case(one, chosen) for one in (left, right))
    for key in sorted({*ours, *theirs}):
        here, there = ours.get(key, []), theirs.get(key, [])
        same = {one.cpu for one in here} & {other.cpu for other in there}
        by_cpu = {other.cpu: other for other in there}
        pairs += [(one, by_cpu[one.cpu]) for one in here if one.cpu in same]
        rest = [one for one in here if one.cpu not in same], [one for one in there if one.cpu not in same]
        pairs += zip(*rest, strict=False)
    counts = [sum(map(len, found.values())) - len(pairs) for found in (ours, theirs)]
    return pairs, (counts[0], counts[1])


def _by_case(one: Side, chosen: Chosen) -> dict[tuple[str, str], list[Entry]]:
    def place(entry: Entry) -> tuple[int, str]:
        model = entry.cpu.partition(",")[0]
        return one.cpus.index(model) if model in one.cpus else len(one.cpus), entry.cpu

    found: dict[tuple[str, str], list[Entry]] = {}
    for entry in sorted(filter(chosen, one.entries), key=place):
        found.setdefault((entry.function, entry.variant), []).append(entry)
    return found


# Two observations


def _lines(left: Evidence, right: Evidence) -> Iterator[Line]:
    here, there = ("; ".join(map(str, told(evidence))) or _NOTHING for evidence in (left, right))
    yield from _differ("faults", here, there, value=True)
    if left.seen and right.seen:
        yield from _of_programs(left.seen, right.seen)
    if left.observation and right.observation:
        yield from _of_boots(left.observation, right.observation)


def _of_programs(left: Seen, right: Seen) -> Iterator[Line]:
    yield from _differ("ended", f"{left.ended.how} {left.ended.code}", f"{right.ended.how} {right.ended.code}")
    for number, (one, other) in enumerate(zip_longest(left.steps, right.steps)):
        what = _step(left.program, number)
        yield from _differ(what, _came(one), _came(other))
        if one is not None and other is not None:
            values = _values(one), _values(other)
            for name in values[0]:
                left_value, right_value = (f"{each.get(name, 0):#x}" for each in values)
                yield from _differ(f"step {number} {name}", left_value, right_value, value=True)


def _step(program: Program, number: int) -> str:
    step = program.steps[number]
    insn = next((str(insn) for insn in Insn if step.code in insn.opcodes), step.code.hex(" "))
    given = "".join(f" {name}={value:#x}" for name, value in step.registers.items())
    return f"step {number}: {insn} at CPL {step.cpl}{given}"


def _came(step: StepSeen | None) -> str:
    if step is None:
        return "did not end"
    return "ran" if step.vector is None else f"vector {step.vector} error {step.error:#x} at +{step.rip:#x}"


def _values(step: StepSeen) -> dict[str, int]:
    return {**step.registers, "efer": step.efer, "cr2": step.cr2, "vm_hsave_pa": step.vm_hsave_pa}


def _of_boots(left: Observation, right: Observation) -> Iterator[Line]:
    yield from _differ("ended", f"{left.ended.how} {left.ended.code}", f"{right.ended.how} {right.ended.code}")
    yield from _differ("outcome", left.outcome or _NOTHING, right.outcome or _NOTHING)
    same_image = left.image_sha256 == right.image_sha256
    # Behind the place where some were watched no longer, what is in a trace depends on when that was.
    whole = min((seen.trace_whole for seen in (left, right) if seen.trace_cut), default=None)
    ours, theirs = left.trace[:whole], right.trace[:whole]
    keys = [[_behaviour(event, same_image) for event in trace] for trace in (ours, theirs)]
    for tag, a, b, c, d in SequenceMatcher(None, keys[0], keys[1], autojunk=False).get_opcodes():
        for one, other in zip_longest(ours[a:b], theirs[c:d]):
            here, there = (event_text(event) if event else _NOTHING for event in (one, other))
            yield from _differ("executed", here, there, value=tag == "equal")
    for name in dict.fromkeys((*left.witness, *right.witness)):
        here, there = (_tried(seen.witness.get(name)) for seen in (left, right))
        yield from _differ(f"guest: {name}", here, there, value=True)


def _tried(tried: Tried | None) -> str:
    if tried is None:
        return _NOTHING
    return (
        f"{'no fault' if tried.vector is None else f'vector {tried.vector} error {tried.error:#x}'}, {tried.value:#x}"
    )


def _behaviour(event: Event, same_image: bool) -> tuple[object, ...]:
    """What an event did, apart from values."""
    operand = {Insn.CPUID: event.leaf, Insn.RDMSR: event.msr, Insn.WRMSR: event.msr}.get(event.insn)
    came = Vmcb(event.vmcb_after)["exitcode"] if event.vmcb_after is not None else event.completed
    return event.insn, event.where if same_image else "", event.cpl, operand, came


def _differ(what: str, left: str, right: str, value: bool = False) -> Iterator[Line]:
    if left != right:
        yield Line(what, left, right, value)


def words(lines: Iterable[Line], most: int) -> tuple[Sequence[Line], int]:
    """At most so many lines, behaviour first, and how many more there are."""
    ordered = sorted(lines, key=lambda line: line.value)
    return ordered[:most], max(0, len(ordered) - most)
