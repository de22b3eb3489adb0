from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness import paths
from harness.spec import catalogue, claims

GOOD = {case.id: case.requirements for case in claims.suite()}


def test_suite_and_catalogue_agree() -> None:
    assert claims.complaints(GOOD, catalogue.load(), whole=True) == []


def test_a_case_knows_where_it_stands() -> None:
    case = next(case for case in claims.suite() if case.name == "test_unaligned_address_is_gp")
    file, _, line = case.source.partition(":")
    text = (paths.ROOT / file).read_text().splitlines()
    assert text[int(line) - 1] == f'@requirement("{case.requirements[0]}")'
    assert case.claim == "VMRUN with any of rAX[11:0] set raises #GP(0) at CPL 0."


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ({"a::test_x": ["SVM-15.99-001"]}, "a::test_x: the catalogue has no requirement SVM-15.99-001"),
        ({"a::test_x": []}, "a::test_x checks no requirement: give it @requirement(...)"),
        ({"a::test_x": ["SVM-15.24-001"]}, "a::test_x checks SVM-15.24-001, whose status is 'untestable'"),
    ],
)
def test_what_is_wrong_with_a_case(named: dict[str, list[str]], says: str) -> None:
    for whole in (False, True):
        (line,) = claims.complaints({**GOOD, **named}, catalogue.load(), whole=whole)
        assert line.startswith(says)


def test_covered_without_a_case_is_told_of_the_whole_suite_only() -> None:
    others = {case: names for case, names in GOOD.items() if "SVM-15.5.1-037" not in names}
    assert claims.complaints(others, catalogue.load(), whole=False) == []
    (line,) = claims.complaints(others, catalogue.load(), whole=True)
    assert line.startswith("SVM-15.5.1-037 is marked as covered, and no case names it")


def test_what_is_the_whole_suite() -> None:
    files = sorted(claims.SUITE.glob("*/test_*.py"))
    assert claims.is_whole(files, ["conformance"])
    assert claims.is_whole([*files, Path("harness/tests/test_x.py")], [])
    assert not claims.is_whole(files[1:], ["conformance"])
    assert not claims.is_whole(files, [*map(str, files[1:]), f"{files[0]}::test_x"])


TAMPER = """
from harness.spec import catalogue
known = dict(catalogue.load())
known["SVM-15.4-017"] = known["SVM-15.4-017"].model_copy(update={"status": "covered"})
catalogue.load = lambda: known
"""


@pytest.mark.parametrize("workers", [["-n0"], ["-n1"]])
def test_pytest_says_it_in_one_line(tmp_path: Path, workers: list[str]) -> None:
    (tmp_path / "tamper.py").write_text(TAMPER)
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    env.pop("PYTEST_XDIST_WORKER", None)
    command = [sys.executable, "-m", "pytest", "-p", "tamper", "--collect-only", "-q", *workers, f"--out={tmp_path}"]
    process = subprocess.run(
        [*command, "--engine=tcg", "conformance"], cwd=paths.ROOT, env=env, capture_output=True, text=True
    )
    assert process.returncode == pytest.ExitCode.USAGE_ERROR, process.stdout + process.stderr
    assert process.stderr.strip() == (
        "ERROR: SVM-15.4-017 is marked as covered, and no case names it: cover it, or change its status"
    )
