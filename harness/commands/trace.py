"""``svmconf trace``: every VMRUN and #VMEXIT of a hypervisor, from outside."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TextIO

import click

from harness.boot import Boot, Insn
from harness.commands import options
from harness.commands.run import bring
from harness.engines.base import Engine
from harness.errors import SvmconfError
from harness.guests import files
from harness.guests.linux import LINUX, Linux
from harness.hypervisors.manifest import Manifest
from harness.machine.image import Image
from harness.model.explain.sources import first_cpu
from harness.run import Run
from harness.trace import count, debugged, log, steps
from harness.trace.passage import Passage
from harness.trace.record import of_passage, of_tally
from harness.trace.tally import Tally, detail

_ROWS = 40


class _Printer:
    """Prints the first passages, and writes all to a file."""

    def __init__(self, image: Image, limit: int, file: TextIO | None) -> None:
        self._image = image
        self._limit = limit
        self._file = file
        self.more = 0
        self.details = Tally(kind=detail)

    def __call__(self, passage: Passage) -> None:
        self.details.add(passage)
        if self._file is not None:
            self._file.write(of_passage(passage) + "\n")
        if not self._limit or passage.number <= self._limit:
            for line in log.lines(passage, self._image):
                click.echo(line)
        else:
            self.more += 1


@click.command()
@options.hypervisor
@options.engine
@click.option("--cpu", default="", metavar="M", help="CPU model of the engine (default: its first).")
@options.defect
@click.option("--guest", metavar="G", help="Guest to run, by a name that the manifest knows.")
@click.option("--count", "loops", metavar="N", type=click.IntRange(0), help="How often a guest that loops shall loop.")
@click.option(
    "--seconds", metavar="N", type=click.FloatRange(0, min_open=True), help="How long (default: the manifest's)."
)
@click.option("--limit", default=20, show_default=True, metavar="N", help="Print so many VMRUNs, 0 for all.")
@click.option("--detail", "by_detail", is_flag=True, help="Count by leaf, MSR, port and page, too.")
@click.option("--functions", is_flag=True, help="Say in which functions of the hypervisor an exit's instructions are.")
@click.option(
    "--json", "json_file", metavar="FILE", type=click.File("w"), help="Write everything there, as JSON lines."
)
@click.option(
    "--via",
    type=click.Choice(("auto", "plugin", "gdbstub")),
    default="auto",
    show_default=True,
    help="The plugin sees everything and counts instructions; the gdbstub is for engines without.",
)
def command(
    hypervisor: str,
    engine: str,
    cpu: str,
    defect: str,
    guest: str | None,
    loops: int | None,
    seconds: float | None,
    limit: int,
    by_detail: bool,
    functions: bool,
    json_file: TextIO | None,
    via: str,
) -> None:
    """Log every VMRUN and #VMEXIT of a hypervisor: reasons decoded, fields of the VMCB that changed, instructions.

    What changed between a #VMEXIT and the next VMRUN was written by the hypervisor; what changed in between, by the
    processor. At the end exits are counted by reason. Ctrl-C stops the machine and prints the summary so far.
    """
    run = Run(engine, cpu, hypervisor, defect, Path())
    try:
        boot = Boot(guest=guest, count=loops, seconds=seconds, linux=Linux() if guest == LINUX else None)
        _trace(run, boot, limit, by_detail, json_file, via)
        if functions:
            _functions(run, boot)
    finally:
        run.close()


def _trace(run: Run, boot: Boot, limit: int, detailed: bool, json_file: TextIO | None, via: str) -> None:
    manifest = run.built_manifest()
    if refusal := manifest.refuses(boot):
        offered = ", ".join(manifest.guests) or "none by name"
        raise SvmconfError(f"{manifest.name} {refusal}", f"it offers: {offered}")
    if boot.linux is not None and files.missing(boot.linux):
        bring(files.parts(boot.linux))
    engine, cpu = run.engine, first_cpu(run)
    lacking = count.lacks(engine)
    if via == "plugin" and lacking:
        raise SvmconfError(f"no plugin here: {lacking}", "--via gdbstub, or --engine qemu-10.0")
    click.echo(f"{manifest.name} on {engine.description}, CPU {cpu}")
    printer = _Printer(Image.load(manifest.image), limit, json_file)
    if via == "gdbstub" or lacking:
        done, notes = _by_breakpoints(engine, manifest, boot, cpu, printer)
        notes.insert(0, "seen by breakpoints, which count no instructions" + (f": {lacking}" if lacking else ""))
    else:
        done, notes = count.count(engine, manifest, boot, cpu, printer), []
    ending = str(done.ending) if done.ending else "stopped"
    if json_file is not None:
        json_file.write(of_tally(done.tally, ending, done.outcome) + "\n")
    if printer.more:
        notes.insert(0, f"{printer.more:,} more VMRUNs are counted but not shown (--limit)")
    tally = replace(done.tally, rows=printer.details.rows) if detailed else done.tally
    _summary(tally, f"{ending}{f', {done.outcome}' if done.outcome else ''}", notes)


def _by_breakpoints(
    engine: Engine, manifest: Manifest, boot: Boot, cpu: str, printer: _Printer
) -> tuple[count.Counted, list[str]]:
    """What was seen, and which places were watched no longer at some point."""
    with tempfile.TemporaryDirectory(prefix="svmconf-") as folder:
        seen = engine.observe(manifest, boot, cpu, Path(folder))
    tally = Tally()
    for passage in debugged.passages(seen):
        tally.add(passage)
        printer(passage)
    notes = [f"no longer watched: {place}" for place in seen.given_up(Insn.VMRUN)]
    return count.Counted(tally, seen.ended, seen.outcome), notes


def _functions(run: Run, boot: Boot) -> None:
    click.echo("\nWhere the instructions of one exit are, stepped through with the debugger:")
    for line in steps.lines(steps.functions(run.engine, run.built_manifest(), boot, first_cpu(run))):
        click.echo(line)


def _summary(tally: Tally, ending: str, notes: list[str]) -> None:
    if tally.vmruns:
        headings, *rows = log.table(tally)
        click.echo("\n" + "\n".join([headings, *rows[:_ROWS]]))
        if tally.instructions is not None:
            click.echo("instructions of the guest before an exit, and of the hypervisor from it to its next VMRUN")
        if len(rows) > _ROWS:
            notes.append(f"{len(rows) - _ROWS:,} more reasons, each less frequent, are not shown (--json has all)")
    else:
        ran = "" if tally.instructions is None else f" among the {tally.instructions:,} instructions that it executed"
        click.echo(f"no VMRUN was executed{ran}")
    if tally.attempts:
        notes.append(f"VMRUNs that guests tried, which are not listed: {tally.attempts:,}")
    for note in notes:
        click.echo(note)
    click.echo(f"the machine: {ending}")
