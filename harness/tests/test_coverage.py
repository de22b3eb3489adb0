from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.commands.coverage import command
from harness.errors import SvmconfError
from harness.spec import catalogue, claims, coverage
from harness.spec.coverage import Tally


def test_coverage_has_not_fallen() -> None:
    """The ratchet: where this fails, cover again what was covered, or lower conformance/coverage.toml with a reason."""
    assert coverage.fallen(coverage.by_section(catalogue.load().values())) == []


def test_the_sums_agree() -> None:
    everything = list(catalogue.load().values())
    total = coverage.tally(everything, "all")
    assert total.covered == len(claims.by_requirement())
    for rows in (coverage.by_section, coverage.by_kind, coverage.by_priority):
        found = rows(everything)
        assert sum(row.covered for row in found) == total.covered
        assert sum(row.planned for row in found) == total.planned
        assert sum(row.untestable for row in found) == total.untestable
    assert all(row.title for row in coverage.by_section(everything)), "a section has no title"


def test_a_share_is_of_what_can_be_tested() -> None:
    assert Tally("x", "", covered=1, planned=3, untestable=96).share == 0.25
    assert Tally("x", "", covered=0, planned=0, untestable=1).share == 1


def rows(**covered: int) -> list[Tally]:
    return [Tally(name, "", count, 10 - count, 0) for name, count in covered.items()]


def test_the_ratchet_rises_and_never_falls(tmp_path: Path) -> None:
    ratchet = tmp_path / "coverage.toml"
    assert coverage.raise_ratchet(rows(A=2, B=0), ratchet) == ["section A: 2, was 0"]
    assert coverage.least(ratchet) == {"A": 2}
    assert coverage.raise_ratchet(rows(A=3, B=1), ratchet) == ["section A: 3, was 2", "section B: 1, was 0"]
    assert coverage.raise_ratchet(rows(A=1), ratchet) == []
    assert coverage.least(ratchet) == {"A": 3, "B": 1}
    assert ratchet.read_text().startswith("# How many requirements")
    assert coverage.fallen(rows(A=3, B=2), ratchet) == []
    assert coverage.fallen(rows(A=2), ratchet) == [
        "section A: 2 requirements are covered, and 3 were",
        "section B: 0 requirements are covered, and 1 were",
    ]


def test_a_lost_ratchet_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SvmconfError, match="no ratchet"):
        coverage.least(tmp_path / "coverage.toml")


def test_marking_changes_the_status_alone(tmp_path: Path) -> None:
    planned, untestable = "SVM-15.16-004", "SVM-15.16-001"
    for path in catalogue.files():
        shutil.copy(path, tmp_path)
    changed = tmp_path / "15.16.toml"
    head, entry = changed.read_text().split(f'id = "{planned}"')
    changed.write_text(head + f'id = "{planned}"' + entry.replace('status = "covered"', 'status = "planned"', 1))
    before = {path.name: path.read_text() for path in catalogue.files(tmp_path)}
    assert coverage.mark_covered([planned, untestable, "SVM-15.4-001"], tmp_path) == [planned]
    after = {path.name: path.read_text() for path in catalogue.files(tmp_path)}
    assert [name for name in before if before[name] != after[name]] == ["15.16.toml"]
    pairs = zip(before["15.16.toml"].splitlines(), after["15.16.toml"].splitlines(), strict=True)
    assert [pair for pair in pairs if pair[0] != pair[1]] == [('status = "planned"', 'status = "covered"')]


def test_the_command() -> None:
    result = CliRunner().invoke(command, env={"COLUMNS": "80"})
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("15.5     VMRUN Instruction") and line.endswith("%") for line in lines)


def test_the_command_as_json() -> None:
    result = CliRunner().invoke(command, ["--json"])
    assert result.exit_code == 0, result.output
    plain = json.loads(result.output)
    assert set(plain) == {"total", "section", "kind", "priority"}
    assert plain["total"]["covered"] == sum(row["covered"] for row in plain["section"])


def test_the_command_fails_when_coverage_fell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ratchet = tmp_path / "coverage.toml"
    ratchet.write_text('[covered]\n"15.4" = 99\n')
    monkeypatch.setattr(coverage.least, "__defaults__", (ratchet,))
    monkeypatch.setattr(coverage.fallen, "__defaults__", (ratchet,))
    result = CliRunner().invoke(command)
    assert result.exit_code == 1
    assert "section 15.4: " in result.stderr and "requirements are covered, and 99 were" in result.stderr


def test_the_ratchet_rises_on_no_false_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "complaints", lambda *_, **__: ["covered, and no case names it"])
    monkeypatch.setattr(coverage, "mark_covered", lambda _: [])
    monkeypatch.setattr(coverage, "raise_ratchet", lambda _: pytest.fail("it was raised"))
    result = CliRunner().invoke(command, ["--update"])
    assert result.exit_code == 1
    assert "svmconf: covered, and no case names it" in result.stderr
