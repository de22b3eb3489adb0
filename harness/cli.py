"""The command line. Each command is a module of :mod:`harness.commands`, loaded only when it is asked for."""

from __future__ import annotations

import importlib
import signal
import sys

import click

import harness
from harness.errors import SvmconfError

_COMMANDS = {
    "run": "boot a hypervisor, check it against the manual, write the report",
    "test": "run every test of the project",
    "report": "write the reports of a run again, or of one that was killed",
    "engines": "bring engines of named versions, show what there is, register your own",
    "explain": "say why VMRUN fails: the rule, the value, the section, the smallest change",
    "trace": "log every VMRUN and #VMEXIT of a hypervisor, and count instructions",
    "doctor": "tell what this machine offers, and what is missing",
    "shell": "boot a hypervisor and give you its console",
    "build": "build the hypervisor and the probe",
    "matrix": "run cases on a row of engines and show where they differ",
    "diff": "list where two engines differ, with both observations",
    "bisect": "name the version of an engine that changed",
    "merge": "put the ledgers of shards, or of several runs, together",
    "resume": "finish a run that was killed",
    "verify": "check that a published run is complete and unaltered",
    "judge": "judge again what a run recorded, without booting anything",
    "audit": "tell whether every case can turn red, from recorded observations",
    "spec": "show a requirement of the manual in full, or find some",
    "coverage": "tell how much of the manual the suite covers",
    "expectations": "check the known deviations of engines, or rewrite them from a ledger",
    "lab": "build a VMCB, run it, look, change a bit: by hand or by a script",
    "bench": "measure what the harness adds, VMRUN round trips, instructions per exit",
}


class _Commands(click.Group):
    """Loads a command's module when it is needed, so that ``--help`` and mistakes answer at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"harness.commands.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(harness.__version__, prog_name="svmconf")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def cli(debug: bool) -> None:
    """A test harness and conformance suite for AMD SVM hypervisors and the engines they run on."""


def main() -> None:
    """The entry point: errors are one line with the way out; a traceback only with --debug."""
    debug = "--debug" in sys.argv
    for number in (signal.SIGTERM, signal.SIGHUP):  # leave as for Ctrl-C: cleaning up behind us
        signal.signal(number, lambda caught, _frame: sys.exit(128 + caught))
    try:
        sys.exit(cli(standalone_mode=False))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        sys.exit(130)
    except SvmconfError as error:
        if debug:
            raise
        click.echo(f"svmconf: {error.what}", err=True)
        if error.hint:
            click.echo(f"         way out: {error.hint}", err=True)
        sys.exit(2)
    except OSError as error:
        if debug:
            raise
        where = f": {error.filename}" if error.filename else ""
        click.echo(f"svmconf: {error.strerror or error}{where} (--debug shows more)", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
