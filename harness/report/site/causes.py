"""What an engine does otherwise than the manual says, grouped by cause, and as Markdown for its maintainers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.ledger import Entry, Header, Verdict
from harness.report.matrix import WORST_FIRST, Column
from harness.report.site.exhibits import Exhibits
from harness.report.site.sheets import Sheet, Way
from harness.spec import expectations
from harness.spec.catalogue import Requirement
from harness.spec.expectations import Deviation

_EVIDENCE = 3_000  # characters of evidence in a report for maintainers
_FINDINGS = 200  # of a cause that are shown

_DEVIATES = (Verdict.FAIL, Verdict.EXPECTED_FAIL)


@dataclass(frozen=True)
class Finding:
    """A requirement that does not hold on the engine, and in which way."""

    requirement: Requirement
    way: Way
    deviation: Deviation | None

    @property
    def observed(self) -> str:
        """What was seen instead, in words."""
        if self.deviation:
            return self.deviation.observed
        return self.way.words.removeprefix(f"{self.requirement.id}: ")

    @property
    def said(self) -> str:
        """All that the failed case said, without pytest's advice on how to make it say more."""
        lines = self.way.more.splitlines()
        return "\n".join(line for line in lines if not line.strip().startswith(("Use -v ", "Omitting ")))

    @property
    def case(self) -> tuple[str, str, str]:
        """What is the same of findings that rest on the same entries."""
        return self.way.first.function, self.observed, self.way.settings

    @property
    def manual(self) -> str:
        """Where the manual says it."""
        revision = max(self.requirement.sections, key=lambda r: tuple(map(int, r.split("."))))
        elsewhere = {"V3": "AMD64 APM vol. 3, SVM instructions", "CPUID": "AMD64 APM vol. 3, CPUID of SVM"}
        section = self.requirement.section
        where = f"section {section}" if section[0].isdigit() else f"appendix {section}"
        return elsewhere.get(section, f"AMD64 APM vol. 2 rev. {revision}, {where}")


@dataclass(frozen=True)
class Cause:
    """Findings with the same cause; ``link`` is the upstream report, if there is one, ``state`` what else is known."""

    title: str
    known: bool
    upstream: str
    findings: tuple[Finding, ...]
    left_out: int = 0

    @property
    def link(self) -> str:
        """The address of the report upstream, empty when there is none."""
        first = self.upstream.partition(" ")[0]
        return first if first.startswith(("https://", "http://")) else ""

    @property
    def groups(self) -> list[tuple[Finding, ...]]:
        """The findings, those that rest on the same entries together."""
        alike: dict[tuple[str, str, str], list[Finding]] = {}
        for finding in self.findings:
            alike.setdefault(finding.case, []).append(finding)
        return [tuple(found) for found in alike.values()]


def causes(column: Column, sheets: Iterable[Sheet], *, hypervisor: bool = False) -> list[Cause]:
    """The deviations of an engine by cause, new ones first, each as large as it is.

    :param hypervisor: what the software under test does otherwise on it, instead of what the engine does.
    """
    known = {str(one): one for found in expectations.every().values() for one in found}
    groups: dict[tuple[str, str], list[Finding]] = {}
    for sheet in sheets:
        if (sheet.requirement.kind == "hypervisor") is not hypervisor:
            continue
        ways = next((one.ways for one in sheet.engines if one.column is column), ())
        for way in ways:
            deviation = known.get(way.first.reason)
            another = deviation is not None and deviation.requirement != sheet.requirement.id
            if way.verdict in _DEVIATES and not _mended(way.first) and not another:
                finding = Finding(sheet.requirement, way, deviation)
                groups.setdefault(_title(way, deviation), []).append(finding)
    found = [
        Cause(title, _is_known(members), upstream, tuple(members[:_FINDINGS]), max(0, len(members) - _FINDINGS))
        for (title, upstream), members in groups.items()
    ]
    return sorted(found, key=lambda cause: (cause.known, -len(cause.findings), cause.title))


def _is_known(findings: Sequence[Finding]) -> bool:
    return all(finding.way.verdict is Verdict.EXPECTED_FAIL for finding in findings)


def _mended(entry: Entry) -> bool:
    return entry.verdict is Verdict.FAIL and entry.reason.startswith(expectations.MENDED)


def _title(way: Way, deviation: Deviation | None) -> tuple[str, str]:
    """Cause and upstream link; of what is not understood the case that says what does not hold."""
    if deviation is not None:
        return deviation.cause, deviation.upstream
    if way.verdict is Verdict.EXPECTED_FAIL:  # its entry is gone from the expectations: what the ledger says of it
        return way.first.reason.partition(" (")[2].removesuffix(")") or way.words, ""
    return f"Does not hold: {way.first.claim or way.cases[0]}", ""


def others(entries: Iterable[Entry]) -> dict[str, list[tuple[Verdict, str, int]]]:
    """What else is to be told of each engine: deviations that did not show, errors, not run, skips; why, how often."""
    counts: dict[str, Counter[tuple[Verdict, str]]] = {}
    for entry in entries:
        if entry.verdict in (Verdict.ERROR, Verdict.NOT_RUN, Verdict.SKIP) or _mended(entry):
            why = next(iter(entry.reason.splitlines()), "") or "no reason was given"
            counts.setdefault(entry.engine, Counter())[entry.verdict, why] += 1
    return {engine: _worst_first(found) for engine, found in counts.items()}


def _worst_first(counts: Mapping[tuple[Verdict, str], int]) -> list[tuple[Verdict, str, int]]:
    ordered = sorted(counts.items(), key=lambda item: (WORST_FIRST.index(item[0][0]), -item[1], item[0][1]))
    return [(verdict, reason, count) for (verdict, reason), count in ordered]


def markdown(cause: Cause, column: Column, header: Header, exhibits: Exhibits) -> str:
    """A cause as a report that its maintainers can act upon: rule, what was seen, how to repeat it, evidence."""
    lines = [f"## {cause.title}", "", f"Seen on {column.name}: {column.why or column.version}."]
    lines += [f"Upstream: {cause.upstream}"] if cause.upstream else []
    for group in cause.groups:
        first = group[0]
        lines += ["", f"### {', '.join(finding.requirement.id for finding in group)}", ""]
        lines += [f"- **Rule** ({finding.manual}): {finding.requirement.statement}" for finding in group]
        lines += [f"- **Seen instead**: {first.observed}"]
        lines += [f"- **Where**: {first.way.settings}"] if first.way.settings else []
        lines += [f"- **Repeat it**: `{first.way.command}`"]
        lines += _details(first, exhibits)
    if cause.left_out:
        lines += ["", f"And {cause.left_out} more requirements."]
    git = f" {header.git}" if header.git else ""
    return "\n".join([*lines, "", f"Found by svmconf {header.svmconf}{git}, run {header.run}.", ""])


def _details(finding: Finding, exhibits: Exhibits) -> list[str]:
    exhibit = exhibits.of(finding.way.first)
    said = finding.said if finding.way.verdict is Verdict.FAIL else ""
    steps = exhibit.steps[:_EVIDENCE] if exhibit else ""
    text = "\n".join(filter(None, (said, steps))).rstrip()
    if not text:
        return []
    fence = "`" * max(3, 1 + max((len(run) for run in _ticks(text)), default=0))
    return ["", "<details><summary>Evidence</summary>", "", fence, text, fence, "", "</details>"]


def _ticks(text: str) -> list[str]:
    """The runs of backticks in a text."""
    return "".join(c if c == "`" else " " for c in text).split()
