"""Allure's own generator on a red ledger and on a green one: categories, history, and what its quality gate says."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import pytest

from harness import ledger as ledger_file
from harness import paths
from harness.errors import SvmconfError
from harness.ledger import Ledger, Verdict
from harness.report import allure_report, write_all
from harness.report.allure_report import Generated, generate
from harness.tests import sites
from harness.tests.ledgers import entry, ledger

HERE = pytest.mark.skipif(
    allure_report.generator() is None, reason="Allure's generator is not here: ./svmconf run installs it, with npm"
)


def run(folder: Path, made: Ledger) -> Path:
    folder.mkdir()
    ledger_file.settle(made, folder)
    write_all(made, folder)
    return folder


def green(name: str = "r") -> Ledger:
    deviation = str(sites.known())
    return ledger(
        ["q"],
        [entry("test_a", "q"), entry("test_b", "q", Verdict.EXPECTED_FAIL, deviation), entry("test_c", "q")],
        run=name,
    )


@HERE
def test_the_gate_is_shut_for_what_is_not_as_it_must_be(tmp_path: Path) -> None:
    made = sites.everything()
    generated = generate(run(tmp_path / "red", made))
    bad = sum(not one.verdict.good for one in made.entries)
    assert generated.gate == (f"The number of failed tests {bad} exceeds the allowed threshold value 0",)
    assert "qualityGate" in (tmp_path / "red" / "allurerc.json").read_text()


@HERE
def test_the_gate_is_open_for_known_deviations_but_not_when_a_result_is_lost(tmp_path: Path) -> None:
    folder = run(tmp_path / "green", green())
    assert generate(folder) == Generated(folder / "allure-report" / "index.html", ())
    results = sorted((folder / "allure-results").glob("*-result.json"))
    results[0].unlink()
    assert generate(folder).gate == ("The total number of tests 2 is less than the expected threshold value 3",)


@HERE
def test_the_page_has_the_categories_and_history_goes_on(tmp_path: Path) -> None:
    history = tmp_path / "kept" / "history.jsonl"
    for number in range(2):
        generate(run(tmp_path / str(number), green(str(number))), history)
    runs = [json.loads(line) for line in history.read_text().splitlines()]
    assert len(runs) == 2
    assert runs[0]["testResults"].keys() == runs[1]["testResults"].keys()
    page = (tmp_path / "1" / "allure-report" / "index.html").read_text()
    embedded = re.search(r'"widgets/categories\.json","([^"]+)"', page)
    assert embedded and b"Known deviations of the engine" in base64.b64decode(embedded[1])


def test_each_verdict_that_is_not_pass_has_a_category() -> None:
    categories = allure_report.configuration(green())["categories"]
    begins = [category["messageRegex"] for category in categories]
    assert sorted(begins) == sorted(f"^{verdict}: " for verdict in Verdict if verdict is not Verdict.PASS)


def test_without_a_generator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "TOOLS", tmp_path)
    with pytest.raises(SvmconfError, match="is not here"):
        generate(tmp_path)
