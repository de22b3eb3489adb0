"""Judging again: the same verdicts from the recording alone, other ones when the case changed, and nothing boots."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import paths
from harness.ledger import Verdict
from harness.tests.test_plugin import Result, start

CASES = """
@requirement("SVM-15.4-001")
@boots()
def test_ready(seen): assert seen.outcome == "{}"

@requirement("SVM-15.4-001")
@boots(Boot(guest="hello"))
def test_skips(seen): assert False
"""


@pytest.fixture
def again(tmp_path: Path, assemble: Callable[[str], Path]) -> Callable[..., Result]:
    def run(cases: str, *options: str) -> Result:
        out = tmp_path / f"out{len(list(tmp_path.glob('out*')))}"
        process = start(tmp_path, assemble, cases, "foreign", f"--out={out}", *options)
        said, _ = process.communicate(timeout=120)
        return Result(process.returncode, said, out)

    return run


def test_a_recording_is_judged_without_booting(again: Callable[..., Result], tmp_path: Path) -> None:
    first = again(CASES.format("ready"))
    assert first.verdicts() == {"ready": Verdict.PASS, "skips": Verdict.SKIP}, first.said
    (recorded,) = (tmp_path / "out0").glob("*/ledger.jsonl")

    same = again(CASES.format("ready"), f"--replay={recorded}")
    assert same.verdicts() == first.verdicts(), same.said
    assert not list((tmp_path / "out1").glob("*/machines")), "something was booted"
    assert first.ledger is not None and same.ledger is not None
    assert same.ledger.evidence == first.ledger.evidence

    changed = again(CASES.format("something else"), f"--replay={recorded}")
    assert changed.verdicts() == {"ready": Verdict.FAIL, "skips": Verdict.SKIP}
    assert changed.status == 1


def test_a_case_that_asks_for_something_new_is_not_run(again: Callable[..., Result], tmp_path: Path) -> None:
    again(CASES.format("ready"))
    (recorded,) = (tmp_path / "out0").glob("*/ledger.jsonl")
    asks = CASES.format("ready").replace("@boots()", '@boots(Boot(words=("more",)))')
    result = again(asks, f"--replay={recorded}")
    assert result.verdicts()["ready"] is Verdict.NOT_RUN
    assert result.status == 1


def test_cases_that_were_not_recorded_are_left_out(tmp_path: Path) -> None:
    """The whole suite judges a run of one case: what else it has is not in there."""
    svmconf = [sys.executable, "-m", "harness.cli"]
    here: dict[str, Any] = {"cwd": paths.ROOT, "capture_output": True, "text": True, "timeout": 120}
    case = ("-k", "test_unaligned_address_is_gp", "-n", "0")
    subprocess.run([*svmconf, "run", "--no-allure", f"--out={tmp_path}", *case], check=True, **here)
    done = subprocess.run([*svmconf, "judge", "-n", "0", f"--out={tmp_path}", str(tmp_path / "latest")], **here)
    assert done.returncode == 0 and ", 0 verdicts changed" in done.stdout, done.stdout + done.stderr


def test_no_ledger_is_one_line(again: Callable[..., Result]) -> None:
    result = again(CASES.format("ready"), "--replay=/nonexistent")
    assert result.status != 0 and "no ledger at /nonexistent" in result.said
