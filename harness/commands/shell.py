"""``svmconf shell``: a live console for a person."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import click
import pexpect

from harness.boot import Boot
from harness.commands import options
from harness.commands.run import bring
from harness.errors import SvmconfError
from harness.guests import files
from harness.guests.linux import LINUX, Linux
from harness.hypervisors import manifest as manifests
from harness.run import Run

_LEAVE = chr(29)  # Ctrl-]


@click.command()
@options.hypervisor
@options.engine
@click.option("--cpu", default="", metavar="M", help="CPU model (default: the first that has SVM).")
@options.defect
@click.option("--guest", default=None, metavar="G", help="Guest to run, by a name that the manifest knows.")
@click.option("--count", default=None, type=int, metavar="N", help="How often a looping guest loops.")
def command(hypervisor: str, engine: str, cpu: str, defect: str, guest: str | None, count: int | None) -> None:
    """Boot a hypervisor with its serial console on your terminal. Ctrl-] leaves.

    ``--guest linux`` gives a shell in a Linux that the hypervisor runs; its kernel is fetched if need be, and ``exit``
    powers it off.

    The sockets of QMP and of the gdbstub are named first: attach with ``gdb -ex 'target remote SOCKET'``.
    """
    run = Run(engine, cpu, hypervisor, defect, Path())
    manifest: manifests.Manifest = run.built_manifest()
    boot = Boot(guest=guest, count=count, linux=Linux(shell=True) if guest == LINUX else None)
    if manifest.refuses(boot):
        raise SvmconfError(f"{manifest.name} offers no guest {guest!r}", f"it offers: {', '.join(manifest.guests)}")
    if boot.linux is not None and files.missing(boot.linux):
        bring(files.parts(boot.linux))
    model = run.cpus(run.engine)[0]
    with tempfile.TemporaryDirectory(prefix="svmconf-") as folder:
        console = run.engine.console(manifest, boot, model, Path(folder))
        click.echo(f"{manifest.name} on {run.engine.description}, CPU {model}")
        click.echo(f"QMP     {console.qmp}\ngdbstub {console.gdb}\nCtrl-] leaves\n")
        code = _interact(console.command, console.env)
    click.echo(f"\n{_ending(manifest, code)}")


def _interact(command: list[str], env: dict[str, str]) -> int | None:
    """The exit status; ``None`` when the person left or a signal ended it."""
    child = pexpect.spawn(command[0], command[1:], timeout=None, env={**os.environ, **env})
    try:
        if sys.stdin.isatty():
            child.interact(escape_character=_LEAVE)
        else:
            child.logfile_read = sys.stdout.buffer
            child.expect(pexpect.EOF)
    finally:
        child.close(force=True)
    return child.exitstatus


def _ending(manifest: manifests.Manifest, status: int | None) -> str:
    if status is None:
        return "left"
    outcome = manifest.outcome_of(status >> 1, "") if status & 1 else None
    return f"ended with exit status {status}" + (f": {outcome}" if outcome else "")
