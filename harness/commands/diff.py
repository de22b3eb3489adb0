"""``svmconf diff``: where two engines differ."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
from rich.console import Console

from harness import ledger
from harness.commands import options
from harness.commands.run import Choice, conduct
from harness.errors import SvmconfError
from harness.keywords import Keywords
from harness.ledger import Entry
from harness.report import diff, diff_text
from harness.report.diff import Side

console = Console()


@click.command()
@click.argument("left", metavar="ENGINE_A")
@click.argument("right", metavar="ENGINE_B")
@click.option(
    "--ledger", "place", metavar="FILE", type=click.Path(exists=True, path_type=Path),
    help="The run that holds both (default: the latest one that does).",
)  # fmt: skip
@click.option("--run", "running", is_flag=True, help="Run both now.")
@options.cpu
@options.expression
@click.option("--values", is_flag=True, help="Also where only values differ: what CPUID and MSRs returned, registers.")
@options.out
def command(
    left: str, right: str, place: Path | None, running: bool, cpu: str, expression: str, values: bool, out: str
) -> None:
    """List where two engines differ, with both observations.

    Either may also be a ledger (a file or a run's folder) of one engine, or LEDGER:ENGINE.

    Exit status: 0 when they do not differ, 1 when they do, 2 when nothing could be said.
    """
    if any(Path(one.partition(":")[0]).exists() for one in (left, right)):
        sides = _of_ledger(left), _of_ledger(right)
    else:
        if running:
            folder, _ = conduct(Choice(f"{left},{right}", cpu=cpu, expression=expression, out=out), quiet=True)
            place = folder
        whole = ledger.of(place or _latest(Path(out), {left, right}))
        sides = diff.side(whole, left), diff.side(whole, right)
    found = diff.compare(*sides, chosen=_matches(expression), values=values)
    if not found.compared and not found.skipped:
        raise SvmconfError(
            f"no case of both matches -k {expression!r}" if expression else "they have no case in common"
        )
    diff_text.show(found, console)
    sys.exit(bool(found.differences))


def _of_ledger(text: str) -> Side:
    place, _, engine = text.partition(":")
    if not Path(place).exists():
        raise SvmconfError(f"{text} is no ledger, and the other one is", "give two engines, or two ledgers")
    whole = ledger.of(Path(place))
    engines = [one.name for one in whole.header.engines]
    if not engine and len(engines) != 1:
        raise SvmconfError(f"{place} holds {len(engines)} engines", f"say which: {place}:{engines[0]}")
    engine = engine or engines[0]
    return diff.side(whole, engine, f"{engine} in {whole.header.run}")


def _latest(out: Path, wanted: set[str]) -> Path:
    """The latest run that holds both."""
    found = max(_holding(out, wanted), default=None)
    if found is None:
        raise SvmconfError(f"no run in {out} holds {' and '.join(sorted(wanted))}", "--run runs both now")
    return found[1]


def _holding(out: Path, wanted: set[str]) -> Iterator[tuple[str, Path]]:
    for path in out.glob("*/ledger.jsonl"):
        try:
            header = ledger.header(path)
        except SvmconfError:
            continue  # of an older version
        if wanted <= {engine.name for engine in header.engines}:
            yield header.started, path


def _matches(expression: str) -> Callable[[Entry], bool]:
    """Whether an entry matches ``-k``, by its id and the ids of its requirements."""
    keywords = Keywords(expression)
    return lambda entry: keywords.match(" ".join((entry.case, *entry.requirements)))
