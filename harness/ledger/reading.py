"""Reading a ledger: a file, a folder with the parts of a run that was killed, or only its header."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ValidationError

from harness.errors import SvmconfError
from harness.ledger.lines import FORMAT, LINE, Entry, Evidence, Header, Line, Plan
from harness.ledger.stored import File, Piece, Stored
from harness.ledger.whole import Ledger, lost_entry

_EVIDENCE = re.compile(rb'\{"line":"evidence","id":"([^"\\]+)".*\}', re.DOTALL)


def gather(folder: Path) -> Ledger | None:
    """A run's parts put together, with *not-run* for every case planned that left no entry.

    ``None`` when nothing was planned.
    """
    parts = sorted(folder.glob("ledger-*.jsonl"))
    ledger = _assemble(line for part in parts for line in _lines(part))
    return ledger if ledger is not None and (ledger.planned or ledger.elsewhere) else None


def done(folder: Path) -> set[str]:
    """The cases of an unfinished run that have a verdict."""
    ledger = gather(folder)
    return {entry.case for entry in ledger.entries if not entry.lost} if ledger is not None else set()


def read(path: Path) -> Ledger:
    """A ledger from its file (a merged one, or a part); a last line that was cut short is left out."""
    ledger = _assemble(_lines(path))
    if ledger is None:
        raise SvmconfError(f"{path} is no ledger: it has no header")
    return ledger


def header(path: Path) -> Header:
    """The first line of a ledger's file, without reading the rest."""
    try:
        with path.open("rb") as file:
            first = file.readline()
            _check_format(first, path)
            line = LINE.validate_json(first)
    except (OSError, ValidationError):
        line = None
    if not isinstance(line, Header):
        raise SvmconfError(f"{path} is no ledger: it has no header")
    return line


def of(place: Path) -> Ledger:
    """The ledger of a run by its folder, also of one that was killed, or by its file."""
    if not place.is_dir() or (place / "ledger.jsonl").exists():
        return read(place / "ledger.jsonl" if place.is_dir() else place)
    ledger = gather(place)
    if ledger is None:
        raise SvmconfError(f"{place} holds no ledger", "give a run's folder, such as reports/out/latest")
    return ledger


def _lines(path: Path) -> Iterator[Line | Piece]:
    """The lines of a ledger's file; evidence only as the place where it stands."""
    try:
        file = File(path)
        for number, (place, line) in enumerate(file.lines(), 1):
            known = _EVIDENCE.fullmatch(line)
            found: Line | str = known[1].decode() if known else _parse(line, path, number)
            if isinstance(found, Evidence):
                found = found.id
            yield Piece(found, file, place, len(line)) if isinstance(found, str) else found
    except OSError as error:
        raise SvmconfError(f"cannot read the ledger {path}: {error.strerror}") from error


def _parse(line: bytes, path: Path, number: int) -> Line:
    try:
        return LINE.validate_json(line)
    except ValidationError as error:
        _check_format(line, path)
        raise SvmconfError(f"{path}:{number}: no line of a ledger: {error.errors()[0]['msg']}") from error


class _AnyHeader(BaseModel):
    """What the header of every format has."""

    line: Literal["header"]
    version: int
    svmconf: str = ""
    git: str = ""


def _check_format(line: bytes, path: Path) -> None:
    """Raise :class:`SvmconfError` when the line is a header of another format."""
    try:
        it = _AnyHeader.model_validate_json(line)
    except ValidationError:
        return
    if it.version != FORMAT:
        raise SvmconfError(
            f"{path} is a ledger of format {it.version}, this svmconf reads format {FORMAT}",
            f"use the svmconf that wrote it, {f'{it.svmconf} {it.git}'.strip() or 'whichever that is'}, or run again",
        )


def _evidence(piece: Piece) -> Evidence:
    try:
        return Evidence.model_validate_json(piece.read())
    except ValidationError as error:
        why = error.errors()[0]["msg"]
        raise SvmconfError(f"{piece.file.path}: evidence {piece.key}: no line of a ledger: {why}") from error


def _assemble(lines: Iterable[Line | Piece]) -> Ledger | None:
    header: Header | None = None
    planned: set[str] = set()
    elsewhere: set[str] = set()
    evidence: list[Piece] = []
    entries: dict[str, Entry] = {}
    for line in lines:
        if isinstance(line, Header):
            header = header or line
        elif isinstance(line, Plan):
            planned.update(line.cases)
            elsewhere.update(line.elsewhere)
        elif isinstance(line, Piece):
            evidence.append(line)
        elif isinstance(line, Entry) and not line.lost:
            entries[line.case] = line
    if header is None:
        return None
    planned.update(entries)
    for lost in planned - set(entries):
        entries[lost] = lost_entry(lost, header)
    return Ledger(
        header=header,
        planned=sorted(planned),
        elsewhere=sorted(elsewhere - planned),
        evidence=Stored(evidence, _evidence),
        entries=[entries[case] for case in sorted(entries)],
    )
