"""Evidence that stays in the ledger's file until it is asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from harness import ledger
from harness.errors import SvmconfError
from harness.ledger import Evidence
from harness.ledger.stored import File, Piece, Stored
from harness.tests import ledgers


def written(folder: Path) -> Path:
    entries = [ledgers.entry(f"test_{n}", "qemu-1", evidence=f"e{n}") for n in range(3)]
    made = ledgers.ledger(["qemu-1"], entries, [ledgers.boot(f"e{n}", "qemu-1", outcome=str(n)) for n in range(3)])
    ledger.settle(made, folder)
    return folder / "ledger.jsonl"


def test_evidence_read_is_evidence_written_in_order_of_ids(tmp_path: Path) -> None:
    path = written(tmp_path)
    path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))
    found = ledger.read(path).evidence
    assert list(found) == ["e0", "e1", "e2"]
    assert [one.observation and one.observation.outcome for one in found.values()] == ["0", "1", "2"]


def test_it_is_there_when_the_file_is_gone(tmp_path: Path) -> None:
    path = written(tmp_path)
    found = ledger.read(path).evidence
    path.unlink()
    assert found["e1"].observation is not None


def test_nothing_is_parsed_to_know_what_there_is(tmp_path: Path) -> None:
    path = tmp_path / "items"
    path.write_bytes(b"one\ntwo\ncut short")
    file, asked = File(path), []

    def make(piece: Piece) -> bytes:
        asked.append(piece.key)
        return piece.read()

    pieces = [Piece(line.decode(), file, place, len(line)) for place, line in file.lines()]
    stored: Mapping[str, bytes] = Stored(reversed(pieces), make)
    assert list(stored) == ["one", "two"] and "two" in stored and len(stored) == 2 and not asked
    assert stored["two"] == b"two" and asked == ["two"]


def test_a_ledger_read_and_settled_again_is_the_same_bytes(tmp_path: Path) -> None:
    path = written(tmp_path)
    before = path.read_bytes()
    (again := tmp_path / "again").mkdir()
    ledger.settle(ledger.read(path), again)
    assert (again / "ledger.jsonl").read_bytes() == before


def test_evidence_whose_keys_stand_in_another_order_is_found(tmp_path: Path) -> None:
    path = written(tmp_path)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    turned = [dict(sorted(line.items(), reverse=True)) for line in lines]
    path.write_text("".join(json.dumps(line) + "\n" for line in turned))
    found = ledger.read(path).evidence
    assert list(found) == ["e0", "e1", "e2"] and found["e2"].observation is not None


def test_damaged_evidence_is_refused_when_it_is_asked_for(tmp_path: Path) -> None:
    path = written(tmp_path)
    path.write_text(path.read_text().replace('"engine":"qemu-1"', '"engine":7', 1))
    found = ledger.read(path).evidence
    with pytest.raises(SvmconfError, match="evidence e0: no line of a ledger"):
        found["e0"]
    assert isinstance(found["e1"], Evidence)
