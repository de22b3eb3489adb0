"""``svmconf judge``: today's cases on yesterday's observations."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click
import pytest
from rich.console import Console

from harness import circumstances, ledger, paths
from harness.commands import options
from harness.errors import SvmconfError

console = Console()


@click.command()
@click.argument("recorded", type=click.Path(exists=True, path_type=Path))
@click.option("--hypervisor", default="", metavar="X", help="The manifest (default: the one that the ledger names).")
@click.option("-k", "expression", default="", metavar="EXPR", help="Only cases that match, as pytest's -k.")
@click.option("-n", "workers", default="auto", show_default=True, metavar="N", help="Worker processes.")
@options.out
def command(recorded: Path, hypervisor: str, expression: str, workers: str, out: str) -> None:
    """Judge the observations of RECORDED (a ledger, or a run's folder) again, without booting anything.

    Writes a run of its own, and says which verdicts are not what they were. Exit status as for run.
    """
    path = recorded / "ledger.jsonl" if recorded.is_dir() else recorded
    before = ledger.read(path.resolve())
    name = f"{circumstances.now().replace(':', '')}-{os.getpid()}-judged"
    arguments = [
        *(str(paths.ROOT / "conformance"), f"--rootdir={paths.ROOT}", f"-c{paths.ROOT / 'pyproject.toml'}"),
        *("-qq", "--no-header", "--no-summary", "--tb=no", "-n", workers),
        *(f"--replay={path.resolve()}", f"--hypervisor={hypervisor or before.header.hypervisor}"),
        *(f"--out={out}", f"--run-name={name}", *(["-k", expression] if expression else [])),
    ]
    status = pytest.main(arguments)
    if status == pytest.ExitCode.NO_TESTS_COLLECTED:
        raise SvmconfError("no case of this suite has anything to judge in that ledger")
    after = ledger.read(Path(out).resolve() / name / "ledger.jsonl")
    changed = [
        (old.case, old.verdict, new.verdict, new.reason)
        for old, new in _pairs(before, after)
        if old.verdict is not new.verdict
    ]
    for case, old, new, reason in changed:
        console.print(f"{old} -> {new}  {case}" + (f": {reason.splitlines()[0]}" if reason else ""), highlight=False)
    judged, gone = len(after.entries), len(before.entries) - len(_pairs(before, after))
    console.print(f"{judged} judged again, {len(changed)} verdicts changed" + (f", {gone} not judged" if gone else ""))
    sys.exit(min(int(status), 2))


def _pairs(before: ledger.Ledger, after: ledger.Ledger) -> list[tuple[ledger.Entry, ledger.Entry]]:
    now = {entry.case: entry for entry in after.entries}
    return [(entry, now[entry.case]) for entry in before.entries if entry.case in now]
