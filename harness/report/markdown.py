"""A run in a few lines of Markdown, for a comment on a pull request."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from harness.ledger import Entry, Ledger, Verdict
from harness.report.matrix import WORST_FIRST, Column, Matrix
from harness.report.matrix_page import MARKS
from harness.report.site.history import Change, History, News
from harness.report.style import short_reason

_SHOWN = 20
_LONGEST = 60_000  # characters: forges take some 65,000 in a comment
_TEXT = 300

_SPECIAL = re.compile(r"([\\`*_\[\]|<>~#])")


def write(ledger: Ledger, matrix: Matrix, past: History, path: Path) -> None:
    """Write ``summary.md``."""
    path.write_text(summary(ledger, matrix, past), encoding="utf-8", errors="backslashreplace")


def summary(ledger: Ledger, matrix: Matrix, past: History) -> str:
    """The sum, the engines, what is new, and what is not as it must be with the command that repeats it."""
    header = ledger.header
    defect = f" with defect {_plain(header.defect)}" if header.defect else ""
    said = "as it must be" if ledger.good else "not as it must be"
    lines = [
        f"## {_plain(header.hypervisor)}{defect} on {_plain(header.on)}: {said}",
        "",
        f"**{_plain(ledger.arithmetic())}**",
        "",
        *_engines(matrix.columns),
        *_news(past),
        *_bad(ledger, matrix),
        "",
        f"<sub>svmconf {_plain(f'{header.svmconf} {header.git}')}, run {_plain(header.run)}</sub>",
        "",
    ]
    text = "\n".join(lines)
    return text if len(text) <= _LONGEST else text[:_LONGEST].rpartition("\n")[0] + "\n\n(cut here)\n"


def _engines(columns: Sequence[Column]) -> Iterator[str]:
    used = [v for v in reversed(WORST_FIRST) if any(v in column.counts for column in columns)]
    yield "| " + " | ".join(["engine", *(f"{MARKS[verdict]} {verdict}" for verdict in used), "version"]) + " |"
    yield "| " + " | ".join(["---", *("--:" for _ in used), "---"]) + " |"
    for column in columns:
        about = f"not here: {column.unavailable}" if column.unavailable else column.version
        counts = (str(column.counts.get(verdict, "")) for verdict in used)
        yield "| " + " | ".join([_plain(column.name), *counts, _plain(about)]) + " |"


def _news(past: History) -> Iterator[str]:
    if len(past.runs) == 1:
        return
    yield from ("", "### What is new", "")
    runs = len(past.runs) - 1
    against = f"{runs} earlier runs" if runs > 1 else "an earlier run"
    yield f"Against {against}: changed verdicts: {len(past.changes)}, new cases: {past.fresh}."
    for kind in News:
        found = past.of(kind)
        if found:
            yield from ("", f"<details><summary>{kind}: {len(found)}</summary>", "")
            yield from map(_change, found[:_SHOWN])
            yield from _more(found)
            yield from ("", "</details>")


def _change(change: Change) -> str:
    entry = change.entry
    return f"- {_what(entry)} on {_plain(entry.engine)} {_plain(entry.setting)}: {entry.verdict}, was {change.before}"


def _bad(ledger: Ledger, matrix: Matrix) -> Iterator[str]:
    """Each case that went wrong on an engine once, with its first setting."""
    found: dict[tuple[str, str, Verdict], list[Entry]] = {}
    for entry in ledger.entries:
        if not entry.verdict.good:
            found.setdefault((entry.function, entry.engine, entry.verdict), []).append(entry)
    if not found:
        return
    yield from ("", "### Not as it must be", "")
    ordered = sorted(found.values(), key=lambda entries: WORST_FIRST.index(entries[0].verdict))
    for entries in ordered[:_SHOWN]:
        first = entries[0]
        more = f" and {len(entries) - 1} more settings" if len(entries) > 1 else ""
        where = f"{_plain(first.engine)} {_plain(first.setting)}{more}"
        yield f"- {MARKS[first.verdict]} {_what(first)} on {where}: {first.verdict}: {_plain(short_reason(first))}"
        yield f"  `{matrix.command(first).replace('`', '')}`"
    yield from _more(ordered)


def _more(found: Sequence[object]) -> Iterable[str]:
    return [f"- and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []


def _what(entry: Entry) -> str:
    name = entry.function.rpartition("::")[2]
    return f"{' '.join(entry.requirements[:3])} {_plain(entry.claim or name)}".strip()


def _plain(text: str) -> str:
    """A ledger's text on one line, with nothing in it that Markdown would take for its own."""
    line = " ".join(text.split())
    return _SPECIAL.sub(r"\\\1", line if len(line) <= _TEXT else line[: _TEXT - 1] + "…")
