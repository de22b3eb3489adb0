"""The matrix as one HTML file that opens anywhere, and as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from harness.ledger import Verdict
from harness.report.matrix import REPRODUCE, WORST_FIRST, Cell, Column, Judged, Matrix, Row
from harness.report.provenance import Told

MARKS = {
    Verdict.PASS: "✓",
    Verdict.EXPECTED_FAIL: "≠",
    Verdict.FAIL: "✗",
    Verdict.ERROR: "!",
    Verdict.NOT_RUN: "○",
    Verdict.SKIP: "–",
}
"""A sign for each verdict, so that colour is not all there is."""


def write(matrix: Matrix, folder: Path) -> None:
    """Write ``matrix.html`` and ``matrix.json``."""
    write_html(matrix, folder / "matrix.html")
    (folder / "matrix.json").write_text(_json(_document(matrix)), encoding="utf-8")


def write_html(matrix: Matrix, path: Path) -> None:
    """Write the page: the table is there without scripts; they add filters and details."""
    environment = Environment(
        loader=PackageLoader("harness.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    path.write_text(environment.get_template("matrix.html.j2").render(context(matrix)), encoding="utf-8")


def context(matrix: Matrix, place: Callable[[str], str] = "#{}".format) -> dict[str, Any]:
    """What the page's template needs. ``place`` says for a requirement's id where the link of its row leads."""
    return {
        "matrix": matrix,
        "marks": MARKS,
        "chips": _chips,
        "legend": LEGEND,
        "place": place,
        "data": embedded(_details(matrix)),
    }


LEGEND = {
    Verdict.PASS: "holds",
    Verdict.EXPECTED_FAIL: "known deviation of the engine",
    Verdict.FAIL: "does not hold",
    Verdict.ERROR: "harness or engine broke",
    Verdict.NOT_RUN: "its precondition was not reached",
    Verdict.SKIP: "something it needs is missing",
}


def _chips(cell: Cell) -> list[tuple[str, str, str]]:
    """Class, short text and whole text of what a cell says beside its verdicts."""
    by_about: dict[tuple[str, str], list[Told]] = {}
    for one in cell.told:
        by_about.setdefault((one.about, one.how), []).append(one)
    chips = [
        (how.replace(" ", "-"), f"{about} {how}", "; ".join(map(str, ones))) for (about, how), ones in by_about.items()
    ]
    if cell.answered:
        chips.append(("by", f"by {', '.join(cell.answered)}", f"answered by {', '.join(cell.answered)}"))
    return chips


def embedded(data: object) -> Markup:
    """Data as JSON inside a script element: nothing in it can end the element."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c"))


# What the page's script needs: every text once, everything else by its number.


def _details(matrix: Matrix) -> dict[str, Any]:
    texts: dict[str, int] = {}

    def text(value: str) -> int:
        return texts.setdefault(value, len(texts))

    cases = {name: number for number, name in enumerate(dict.fromkeys(c for row in matrix.rows for c in row.cases))}
    claims = {one.entry.function: one.entry for row in matrix.rows for cell in row.cells for one in cell.judged}
    return {
        "reproduce": REPRODUCE.replace("{options}", matrix.options),
        "verdicts": list(WORST_FIRST),
        "marks": [MARKS[verdict] for verdict in WORST_FIRST],
        "engines": [_engine(column) for column in matrix.columns],
        "cases": [[name, claims[name].claim, claims[name].source] for name in cases],
        "rows": [
            {
                "id": row.id,
                "cases": [cases[name] for name in row.cases],
                "groups": row.groups,
                "priority": row.requirement.priority if row.requirement else "",
            }
            for row in matrix.rows
        ],
        "entries": _entries(matrix, cases, text),
        "texts": list(texts),
    }


def _entries(matrix: Matrix, cases: dict[str, int], text: Callable[[str], int]) -> list[list[int]]:
    """Each entry once, though several requirements may rest on it."""
    known: dict[tuple[object, ...], list[int]] = {}

    def said(one: Judged) -> list[int]:
        """Faults and layers in words: very many entries have the same."""
        what = one.told, one.answered, one.layers
        if what not in known:
            words = "; ".join(map(str, one.told)), ", ".join(one.answered), "; ".join(one.layers)
            known[what] = [text(words[0]), text(words[1]), text(words[2])]
        return known[what]

    verdicts = {verdict: place for place, verdict in enumerate(WORST_FIRST)}
    found: dict[str, list[int]] = {}
    for row in matrix.rows:
        for column, cell in enumerate(row.cells):
            for one in cell.judged:
                it = one.entry
                if it.case not in found:
                    place = [cases[it.function], column, verdicts[it.verdict], text(it.cpu), text(it.variant)]
                    found[it.case] = [*place, text(it.reason), *said(one)]
    return list(found.values())


def _engine(column: Column) -> dict[str, Any]:
    return {
        "name": column.name,
        "version": column.version,
        "why": column.why,
        "cpus": column.cpus,
        "unavailable": column.unavailable,
        "counts": column.counts,
    }


# The document for programs.


def _json(document: dict[str, Any]) -> str:
    """JSON with a line for each row and each case: small, and still something to grep in."""

    def lines(value: Any) -> str:
        if isinstance(value, dict):
            return "{\n" + ",\n".join(f"{json.dumps(k)}: {_compact(v)}" for k, v in value.items()) + "\n}"
        return "[\n" + ",\n".join(map(_compact, value)) + "\n]" if isinstance(value, list) else _compact(value)

    return "{\n" + ",\n".join(f"{json.dumps(key)}: {lines(value)}" for key, value in document.items()) + "\n}\n"


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _document(matrix: Matrix) -> dict[str, Any]:
    names = [column.name for column in matrix.columns]
    judged = {one.entry.case: one for row in matrix.rows for cell in row.cells for one in cell.judged}
    functions = {one.entry.function: one.entry for one in judged.values() if one.entry.claim}
    return {
        "hypervisor": matrix.hypervisor,
        "defect": matrix.defect,
        "started": matrix.started,
        "reproduce": REPRODUCE.replace("{options}", matrix.options),
        "engines": [_engine(column) for column in matrix.columns],
        "rows": [_row(row, names) for row in matrix.rows],
        "functions": {name: {"claim": e.claim, "source": e.source} for name, e in sorted(functions.items())},
        "cases": {case: _case(one) for case, one in sorted(judged.items())},
    }


def _row(row: Row, names: list[str]) -> dict[str, Any]:
    return {
        "requirement": row.requirement.id if row.requirement else None,
        "section": row.heading,
        "statement": row.requirement.statement if row.requirement else "",
        "differs": row.differs,
        "groups": [[names[column] for column in group] for group in row.groups],
        "odd": [name for name, cell in zip(names, row.cells, strict=True) if cell.odd],
        "cells": {
            name: {"verdict": cell.verdict, "counts": cell.counts, "cases": [one.entry.case for one in cell.judged]}
            | _said_of(cell)
            for name, cell in zip(names, row.cells, strict=True)
            if cell.judged
        },
    }


def _case(one: Judged) -> dict[str, Any]:
    wanted = {"function", "engine", "engine_version", "cpu", "variant", "verdict", "reason"}
    said = {key: value for key, value in one.entry.model_dump(mode="json", include=wanted).items() if value}
    return said | _said_of(one) | ({"layers": one.layers} if one.layers else {})


def _said_of(what: Cell | Judged) -> dict[str, Any]:
    said = {"faults": {one.what: one.how for one in what.told}, "answered": what.answered}
    return {key: value for key, value in said.items() if value}
