"""What a case's observation looks like to a person: the texts that reports attach."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from harness.lab import show
from harness.lab.seen import Seen
from harness.ledger import Entry, Evidence, Ledger
from harness.machine.vmcb import Vmcb
from harness.observation import Event, Observation


def attachments(ledger: Ledger, entry: Entry) -> Iterator[tuple[str, str]]:
    """Name and text of each piece of evidence that there is for an entry."""
    evidence = ledger.evidence.get(entry.evidence, Evidence(id=""))
    if evidence.observation is not None:
        yield from _of_boot(evidence.observation)
    if evidence.seen is not None:
        yield from _of_program(evidence.seen)


def _of_boot(seen: Observation) -> Iterator[tuple[str, str]]:
    yield "how it ended", f"{seen.ended}\noutcome: {seen.outcome or 'not shown'}\nafter {seen.boot_seconds:.3f} s\n"
    yield "command line", shlex.join(seen.command) + "\n"
    if seen.trace:
        yield (
            "trace: sensitive instructions, from outside",
            "\n".join(map(event_text, seen.trace))
            + "\n"
            + "".join(f"({cut}: watched no longer)\n" for cut in seen.trace_cut),
        )
    for number, (event, vmcb) in enumerate(seen.vmruns()[:3], 1):
        yield f"VMCB {number} at VMRUN", vmcb.text() + "\n"
        if event.vmcb_after is not None:
            yield f"VMCB {number} after #VMEXIT", _changed(vmcb, Vmcb(event.vmcb_after))
    if seen.vmcb is not None:
        yield "VMCB at the end", Vmcb(seen.vmcb).text() + "\n"
    if seen.final is not None:
        registers = [f"{name:<8} {value:#018x}" for name, value in seen.final.values.items()]
        tables = [f"{name:<8} {base:#018x} limit {limit:#x}" for name, (base, limit) in seen.final.tables.items()]
        yield "registers at the end", "\n".join(registers + tables) + "\n"
    if seen.witness:
        yield (
            "what the guest saw",
            "".join(
                f"{name:<10} {'no fault' if t.vector is None else f'#{t.vector} error {t.error:#x}':<16} {t.value:#x}\n"
                for name, t in seen.witness.items()
            ),
        )
    if seen.mappings:
        yield (
            "the guest's memory, by walking its tables",
            "".join(
                f"{m.guest:#014x} -> {m.host:#014x} {m.size:#x} {'rw' if m.writable else 'r-'}\n" for m in seen.mappings
            ),
        )
    if seen.accesses:
        yield "accesses to the host save area", "".join(f"{a.address:#x} at {a.where}\n" for a in seen.accesses)
    if seen.records:
        yield (
            "records",
            "".join(
                f"{r.seq} {r.kind} "
                + " ".join(f"{k}={v:#x}" if isinstance(v, int) else f"{k}={v!r}" for k, v in r.fields.items())
                + "\n"
                for r in seen.records
            ),
        )
    if seen.damage:
        yield "damaged records", "\n".join(seen.damage) + "\n"
    yield "console", seen.console or "(it printed nothing)\n"


def _of_program(seen: Seen) -> Iterator[tuple[str, str]]:
    yield "how it ended", f"{seen.ended}\n"
    yield "command line", shlex.join(seen.command) + "\n"
    yield "steps", show.steps(seen) + "\n"


def event_text(event: Event) -> str:
    """A watched instruction in one line: where, with what, and what came of it."""
    registers = {"cpuid": ("rax", "rcx"), "rdmsr": ("rcx",), "wrmsr": ("rcx", "rdx", "rax"), "vmrun": ("rax",)}
    given = " ".join(f"{name}={event.before[name]:#x}" for name in registers.get(event.insn, ()))
    back = ""
    if event.after and event.insn in ("cpuid", "rdmsr"):
        names = ("rax", "rbx", "rcx", "rdx") if event.insn == "cpuid" else ("rdx", "rax")
        back = " -> " + " ".join(f"{name}={event.after[name]:#x}" for name in names)
    if event.vmcb_after is not None:
        back = f" -> #VMEXIT {Vmcb(event.vmcb_after)['exitcode']:#x}"
    elif event.after and not event.completed:
        back = f" -> went to {event.after['rip']:#x}"
    svme = "SVME=1" if event.before.get("efer", 0) & 0x1000 else "SVME=0"
    return (
        f"{event.where:<40} CPL {event.cpl} {svme} {event.insn} {given}{back}{'  (tampered)' if event.tampered else ''}"
    )


def _changed(before: Vmcb, after: Vmcb) -> str:
    """The fields of ``after``, those that changed marked with what they were."""
    was, now = before.decoded(), after.decoded()
    lines = []
    for line in after.text().splitlines():
        name = line.split()[1]
        lines.append(line + (f"   was {was.get(name, 0):#x}" if was.get(name, 0) != now[name] else ""))
    return "\n".join(lines) + "\n"
