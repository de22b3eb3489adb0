"""``svmconf lab``: VMRUN by hand, or by a script."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import click

from harness.commands import options
from harness.errors import SvmconfError
from harness.lab.session import Session, open_session

_WELCOME = """\
{engines}
run(guest(guest_asid=0))                        a guest, legal but for the changes
run(guest(Mode.REAL, "mov al, 1\\nvmmcall"))     its code, in NASM's language
run([efer_svme(True), code("clgi\\nstgi")])      steps: any code, at any CPL, in any mode
it = guest(nested=True); it.vmcb.cr0 |= Cr0.NW  change a bit, run(it) again
explain(it)                                     what the manual says of it
docs/lab.md has the rest; Ctrl-D leaves."""


@click.command()
@click.argument("script", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@options.engine
@click.option("--cpu", default="", metavar="M", help="CPU model (default: each engine's own first).")
def command(script: Path | None, engine: str, cpu: str) -> None:
    """Open a session in which you build a VMCB, run it, look, change a bit, run it again, on one engine or several.

    With SCRIPT it runs that, with the same names, and leaves.
    """
    with open_session(engine, cpu=cpu) as session:
        names = namespace(session)
        if script is not None:
            runpy.run_path(str(script), init_globals=names, run_name="__main__")
            return
        try:
            from IPython import start_ipython
        except ImportError as error:
            raise SvmconfError("a session needs IPython", "./svmconf doctor; svmconf lab SCRIPT needs none") from error
        described = ", ".join(f"{name} ({session.cpu(it)})" for name, it in session.engines.items())
        click.echo(_WELCOME.format(engines=described))
        start_ipython(argv=["--no-banner", "--no-confirm-exit"], user_ns=names)


def namespace(session: Session) -> dict[str, Any]:
    """The names that a session and a script find."""
    from harness.boot import Insn
    from harness.lab import guest, paging, places, program, programs, show, steps
    from harness.model import State, exits, judge, registers
    from harness.msr import Msr

    def explain(it: guest.Guest) -> None:
        """Say what the manual says of a guest's VMCB, as far as it does not hang on the processor."""
        click.echo(judge(State(rax=places.VMCBS, vmcb=it.vmcb)))

    bits = {name: getattr(registers, name) for name in ("Cr0", "Cr4", "Efer", "Rflags", "Attrib", "Misc1", "Misc2")}
    bits |= {name: getattr(registers, name) for name in ("Vintr", "Nested", "Virt", "Event")}
    stepping = {name: getattr(steps, name) for name in ("code", "execute", "rdmsr", "wrmsr", "cpuid", "vmrun")}
    stepping |= {"efer_svme": steps.efer_svme, "enable_svm": steps.enable_svm}
    return {
        **bits,
        **stepping,
        **{"run": session.run, "on": session.on, "session": session, "explain": explain},
        **{"guest": guest.guest, "Mode": guest.Mode, "vmruns": programs.vmruns, "program": programs.program},
        **{"Program": program.Program, "Step": program.Step, "StepMode": program.StepMode, "places": places},
        **{
            "PageTables": paging.PageTables,
            "Page": paging.Page,
            "Insn": Insn,
            "Msr": Msr,
            "exits": exits,
            "show": show,
        },
    }
