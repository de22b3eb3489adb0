"""``svmconf spec``: the manual's requirements, one or some."""

from __future__ import annotations

import difflib
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from harness import paths
from harness.errors import SvmconfError
from harness.report.style import STYLE
from harness.spec import catalogue, claims, expectations, results
from harness.spec.catalogue import Requirement

_STATUS = {"covered": "green", "planned": "yellow", "untestable": "dim"}


@click.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option(
    "--grep", "word", default="", metavar="TEXT", help="Those that have TEXT in them, in upper or lower case."
)
@click.option("--section", default="", metavar="N", help="Those of a section with its sub-sections, such as 15.20.")
@click.option("--uncovered", is_flag=True, help="Those that could be tested, and no case names.")
@click.option("--out", default=str(paths.OUT), metavar="DIR", help="Where runs were written (default: reports/out).")
def command(ids: tuple[str, ...], word: str, section: str, uncovered: bool, out: str) -> None:
    """Show requirements of the manual: each ID in full, with cases, results and known deviations; or find some.

    Of several conditions all must hold; `svmconf spec` alone lists everything. Exit status 1 when nothing is found.
    """
    found = _chosen(ids, section)
    found = [r for r in found if not uncovered or r.status == "planned"]
    found = [r for r in found if word.casefold() in _words(r)]
    console = Console(highlight=False)
    if ids:
        for requirement in found:
            _show(console, requirement, Path(out))
    elif found:
        console.print(_list(found))
    if not found:
        click.echo("svmconf: no requirement is like that", err=True)
    sys.exit(not found)


def _chosen(ids: tuple[str, ...], section: str) -> list[Requirement]:
    """These, or all; those of a section; in the manual's order. Raises :class:`SvmconfError` with near matches."""
    known = catalogue.load()
    names = [catalogue.find(name).id for name in ids] or known
    if section and not any(r.within(section) for r in known.values()):
        sections = dict.fromkeys(s for r in known.values() for s in (r.section, r.main_section))
        near = difflib.get_close_matches(section, sections, n=3, cutoff=0.6)
        hint = f"did you mean {', '.join(near)}?" if near else "svmconf coverage lists them"
        raise SvmconfError(f"the catalogue has no section {section}", hint)
    chosen = (known[name] for name in dict.fromkeys(names))
    return sorted((r for r in chosen if not section or r.within(section)), key=lambda r: r.order)


def _words(r: Requirement) -> str:
    """All that is said of a requirement, to look for words in."""
    parts = (r.id, r.title, r.statement, r.observable, r.note, r.reason, r.feature_gate.names, *r.sources)
    return "\n".join(parts).casefold()


def _list(found: list[Requirement]) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column("requirement", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("", no_wrap=True, style="dim")
    table.add_column("statement")
    for r in found:
        table.add_row(r.id, Text(r.status, style=_STATUS[r.status]), f"{r.priority}\n{r.kind}", r.statement)
    return table


def _show(console: Console, r: Requirement, out: Path) -> None:
    """One requirement in full."""
    console.print()
    console.print(Text.assemble((r.id, "bold"), f"  {r.heading}"))
    console.print(Padding(Text(r.statement), (0, 0, 0, 2)))
    console.print(_facts(r))
    _cases(console, r)
    _results(console, r, out)
    _deviations(console, r)


def _facts(r: Requirement) -> Table:
    places = ", ".join(f"{section} (revision {revision})" for revision, section in r.sections.items())
    applies = f"{r.feature_gate.names} ({r.feature_gate})" if r.feature_gate.bits else "always"
    rows: dict[str, str | Text] = {
        "kind": f"{r.kind}, {r.priority}",
        "status": Text(r.status, style=_STATUS[r.status]) + Text(f": {r.reason}" if r.reason else ""),
        "seen by": r.observable,
        "applies with": applies,
        "stands in": places,
        "verified": f"{r.verified}: {'; '.join(r.sources)}" if r.sources else r.verified,
        "note": " ".join(filter(None, (r.note, r.rev_note))),
    }
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        if value:
            table.add_row(f"  {name}", value)
    return table


def _cases(console: Console, r: Requirement) -> None:
    cases = claims.by_requirement().get(r.id, [])
    console.print(Text("cases", style="bold") if cases else Text("no case", style="bold"))
    for case in cases:
        console.print(Text(f"  {case.source} {case.name}"))
        console.print(Padding(Text(case.claim, style="dim"), (0, 0, 0, 4)))


def _results(console: Console, r: Requirement, out: Path) -> None:
    found = results.latest(r.id, out)
    console.print(
        Text("results" if found else "no results", style="bold") + Text("" if found else f" in {out}", style="dim")
    )
    for result in found:
        verdicts = Text(", ").join(Text(f"{n} {verdict}", style=STYLE[verdict]) for verdict, n in result.counts.items())
        version = result.version.partition(" ")[0]
        console.print(Text(f"  {result.engine} ({version}): ") + verdicts + Text(f"  {result.run}", style="dim"))
        for verdict, reason in result.reasons:
            console.print(Padding(Text.assemble((verdict.value, STYLE[verdict]), f": {reason}"), (0, 0, 0, 4)))


def _deviations(console: Console, r: Requirement) -> None:
    known = [(name, it) for name, found in expectations.every().items() for it in found if it.requirement == r.id]
    if known:
        console.print(Text("known deviations", style="bold"))
    for name, it in known:
        conditions = "; ".join(filter(None, (str(it.versions), ", ".join(it.cpus), ", ".join(it.variants))))
        console.print(Text(f"  {name} {conditions or 'every version'}: {it.observed}"))
        console.print(Padding(Text(f"{it.cause}\n{it.upstream} ({it.date}, {it.case})", style="dim"), (0, 0, 0, 4)))
