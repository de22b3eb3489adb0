"""A finding as text: for a bug report upstream, and as a script that shows it again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from harness.campaign.explore import Where
from harness.campaign.finding import DIED, DIFFER, Finding
from harness.campaign.specimen import NAME, Specimen
from harness.lab.guest import guest
from harness.lab.places import VMCBS
from harness.machine.vmcb import FIELDS
from harness.spec import catalogue

_EXITCODE = VMCBS + FIELDS["exitcode"].offset
_QEMU = "qemu-system-x86_64 -machine pc -cpu {cpu} -m 64 -nodefaults -display none -monitor stdio -kernel payload.elf"


def of(finding: Finding, on: Sequence[Where], versions: Mapping[str, str]) -> str:
    """The whole report, in Markdown."""
    lines = [f"# {title(finding)}", ""]
    lines += [f"* Guest: {finding.specimen}", f"* Expected: {finding.expected}"]
    if finding.requirement:
        entry = catalogue.load()[finding.requirement]
        lines.append(f"* Manual (APM vol. 2, 24593), {entry.section}, {finding.requirement}: {entry.statement}")
    lines += [f"* Found by: {finding.specimen.origin}; {_state(finding)}", "", "| engine | version | CPU | seen |"]
    lines.append("| --- | --- | --- | --- |")
    cpus = {where.engine: where.cpu for where in on}
    for name, seen in finding.seen.items():
        mark = "**" if name in finding.engines and finding.kind != DIFFER else ""
        lines.append(f"| {name} | {versions.get(name, '')} | {cpus.get(name, '')} | {mark}{seen}{mark} |")
    lines += ["", "What differs from a legal guest in that mode:", ""]
    lines += ["| field | offset | legal | here |", "| --- | --- | --- | --- |"]
    lines += [f"| {name} | {FIELDS[name].offset:03X}h | {old:#x} | {new:#x} |" for name, old, new in _fields(finding)]
    if not finding.specimen.twists:
        lines.append("| (nothing) | | | |")
    lines += ["", "The guest's code (`guest.asm`), at CPL 0:", "", "```nasm", finding.specimen.source, "```", ""]
    lines += ["## To see it again", ""]
    lines += [f"    svmconf lab reproduce.py --engine {name} --cpu {cpus.get(name, '')}" for name in finding.seen]
    if any(name.startswith("qemu") for name in finding.seen):
        model = next(cpus[name] for name in finding.seen if name.startswith("qemu"))
        lines += [
            "",
            "or, with nothing but a QEMU: `payload.elf` enables SVM, runs the guest and stops; EXITCODE is then at",
        ]
        lines += [f"{_EXITCODE:#x} (`xp /1gx {_EXITCODE:#x}` in its monitor).", "", f"    {_QEMU.format(cpu=model)}"]
    return "\n".join(lines) + "\n"


def title(finding: Finding) -> str:
    """One line."""
    who = " and ".join(finding.engines)
    if finding.kind == DIFFER:
        return f"{', '.join(finding.engines)} differ in {finding.field}: {finding.specimen.action} intercepted"
    did = finding.seen[finding.engines[0]]
    if finding.kind == DIED:
        return f"{who}: {did}"
    return f"{who}: {did} where it should be: {finding.expected}"


def _state(finding: Finding) -> str:
    shrunk = f"made small: {finding.size} bits" if finding.shrunk else "not made small yet"
    known = ", a known deviation (conformance/expectations)" if finding.known else ""
    confirmed = {None: "", True: ", confirmed in a boot of its own", False: ", NOT seen again in a boot of its own"}
    return f"{shrunk}{confirmed[finding.confirmed]}{known}"


def _fields(finding: Finding) -> list[tuple[str, int, int]]:
    specimen = finding.specimen
    legal = specimen.model_copy(update={"twists": ()}).guest().vmcb
    here = specimen.guest().vmcb
    return [(twist.field, legal[twist.field], here[twist.field]) for twist in specimen.twists]


def script(finding: Finding) -> str:
    """Python for ``svmconf lab``."""
    it = finding.specimen.guest()
    base = guest(finding.specimen.mode, finding.specimen.source, nested=finding.specimen.nested).vmcb
    changed = {name: it.vmcb[name] for name in FIELDS if it.vmcb[name] != base[name]}
    fields = "".join(f"    {name.replace('.', '__')}={value:#x},\n" for name, value in changed.items())
    return (
        f'"""{title(finding)}\n\nFound by svmconf campaign: {finding.specimen.origin}.\n'
        f'Run it: svmconf lab reproduce.py --engine ENGINE\n"""\n\n'
        f"it = guest(\n    Mode.{finding.specimen.mode.name},\n    {finding.specimen.source!r},\n"
        f"    nested={finding.specimen.nested},\n{fields})\n"
        'it.having({places.IOPM: b"\\xff" * 0x3000, places.MSRPM: b"\\xff" * 0x2000})\n'
        f'seen = run(vmruns({{"{NAME}": it}}))\n'
        f"print({f'expected: {finding.expected}'!r})\n"
        "print(seen if isinstance(seen, dict) else show.text(seen))\n"
    )


def assembly(specimen: Specimen) -> str:
    """The guest's code as a file for NASM."""
    return f"; {specimen}\nbits {specimen.mode.bits}\norg {specimen.guest().entry:#x}\n{specimen.source}\n"


def overview(
    findings: Iterable[Finding], counts: Mapping[str, int], specimens: int, seed: int, versions: Mapping[str, str]
) -> str:
    """All findings, those that break a rule first."""
    order = {"model": 0, "exit": 1, "died": 2, "differ": 3}
    rows = sorted(findings, key=lambda one: (order[one.kind], one.known, one.engines, one.requirement, one.field))
    on = ", ".join(f"{name} {version}" for name, version in versions.items())
    ruled = sum(one.kind in ("model", "exit") for one in rows)
    lines = [f"# Campaign, seed {seed}: {specimens} guests on {on}", ""]
    lines += [f"{len(rows)} distinct disagreements, {ruled} of them with a rule of the manual.", ""]
    lines.append("| engine | requirement | field | seen | expected | bits | times | |")
    lines.append("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for one in rows:
        seen = one.seen[one.engines[0]] if one.kind != DIFFER else "; ".join(f"{n} {s}" for n, s in one.seen.items())
        mark = "known" if one.known else "" if one.confirmed is not False else "not confirmed"
        who = ", ".join(one.engines)
        link = f"[{who}](findings/{one.name}/report.md)"
        lines.append(
            f"| {link} | {one.requirement} | {one.field} | {seen} | {one.expected} | {one.size} "
            f"| {counts.get(one.cause, 0)} | {mark} |"
        )
    return "\n".join(lines) + "\n"
