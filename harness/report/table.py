"""The matrix as CSV, for spreadsheets: a line for each requirement, a column for each engine."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from harness.report.matrix import Matrix

_FIXED = ("requirement", "section", "title", "kind", "priority", "status", "differs")


def write(matrix: Matrix, path: Path) -> None:
    """Write ``matrix.csv``."""
    path.write_text(csv_text(matrix), encoding="utf-8", newline="")


def csv_text(matrix: Matrix) -> str:
    """The table; a cell is the worst verdict of a requirement on an engine, empty where no case ran."""
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    out.writerow((*_FIXED, *(column.name for column in matrix.columns), "statement"))
    for row in matrix.rows:
        it = row.requirement
        about = (it.section, it.title, it.kind, it.priority, it.status) if it else ("",) * 5
        differs = "yes" if row.differs else "no"
        cells = (cell.verdict or "" for cell in row.cells)
        out.writerow((row.id, *about, differs, *cells, it.statement if it else ""))
    return text.getvalue()
