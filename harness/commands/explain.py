"""``svmconf explain``: why does VMRUN fail?"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from harness.boot import Insn
from harness.commands import options
from harness.deadline import Deadline
from harness.errors import SvmconfError
from harness.machine.image import Image
from harness.model.cpuid import LEAST, Cpuid
from harness.model.explain import sources
from harness.model.explain.sources import Known
from harness.run import Run


def number(text: str) -> int:
    """A 64-bit number as a person writes it: decimal, or hex with 0x; underscores are welcome."""
    value = int(text, 0)
    if not 0 <= value < 1 << 64:
        raise ValueError(f"{text} does not fit into 64 bits")
    return value


_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option("--vmcb", metavar="FILE", type=_FILE, help="Judge these 4096 bytes.")
@click.option("--rax", metavar="V", type=number, help="rAX at VMRUN (default: the address of a page).")
@click.option("--efer", metavar="V", type=number, help="The host's EFER (default: long mode and SVME).")
@click.option("--cr0", metavar="V", type=number, help="The host's CR0 (default: protected mode with paging).")
@click.option("--cr4", metavar="V", type=number, help="The host's CR4.")
@click.option("--cpl", metavar="N", type=click.IntRange(0, 3), help="The host's CPL (default: 0).")
@click.option("--hypervisor", default="", metavar="X", help="Boot it: one of our manifests, or a .toml file.")
@options.engine
@click.option("--cpu", default="", metavar="M", help="CPU model of the engine (default with --hypervisor: its first).")
@options.defect
@click.option("--guest", metavar="G", help="Guest to run, by a name that the manifest knows.")
@click.option("--gdb", metavar="SOCKET", help="Attach to a QEMU that runs: its gdbstub's path, or HOST:PORT.")
@click.option("--image", metavar="FILE", type=_FILE, help="With --gdb: what will run there, when it is not loaded yet.")
@click.option("--seconds", default=10.0, show_default=True, help="With --gdb: how long to look at VMRUNs.")
@click.option("--cpuid", metavar="FILE", type=_FILE, help="What the processor reports, as `cpuid -r` prints it.")
@click.option("--phys-bits", metavar="N", type=click.IntRange(32, 52), help="The width of a physical address.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def command(
    vmcb: Path | None,
    rax: int | None,
    efer: int | None,
    cr0: int | None,
    cr4: int | None,
    cpl: int | None,
    hypervisor: str,
    engine: str,
    cpu: str,
    defect: str,
    guest: str | None,
    gdb: str | None,
    image: Path | None,
    seconds: float,
    cpuid: Path | None,
    phys_bits: int | None,
    as_json: bool,
) -> None:
    """Say why VMRUN fails: which rule is broken, by which value, in which section, and the smallest change to mend it.

    Judges a VMCB in a file (--vmcb), boots a hypervisor and judges its VMRUNs (--hypervisor), or attaches to a machine
    that runs (--gdb). Exit status: 1 when a rule is broken, 0 when all is legal, 2 when nothing can be said.
    """
    if sum(map(bool, (vmcb, hypervisor, gdb))) != 1:
        raise SvmconfError("give one of --vmcb, --hypervisor and --gdb", "svmconf explain --help")
    known = Known(Cpuid.parse(cpuid.read_text()).over(LEAST) if cpuid else None, phys_bits)
    if vmcb:
        if cpu and not cpuid:
            known = Known(_of_model(engine, cpu), phys_bits)
        given = {"efer": efer, "cr0": cr0, "cr4": cr4, "cpl": cpl}
        registers = {name: value for name, value in given.items() if value is not None}
        found = sources.of_file(vmcb, known, rax, **registers)
    elif gdb:
        places = Image.load(image).find(Insn.VMRUN.opcodes[0]) if image else ()
        found = sources.of_machine(gdb, Deadline.after(seconds), known, places)
    else:
        run = Run(engine, cpu, hypervisor, defect, Path())
        try:
            found = sources.of_hypervisor(run, guest, known)
        finally:
            run.close()
    click.echo(found.model_dump_json(indent=1) if as_json else found.text())
    sys.exit(found.status)


def _of_model(engine: str, cpu: str) -> Cpuid:
    run = Run(engine, cpu, "svmconf", "", Path())
    try:
        return sources.probed(run.engine, sources.first_cpu(run))
    finally:
        run.close()
