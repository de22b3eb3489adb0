"""One real run on two engines and one that is not here, through the command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness import ledger as ledgers
from harness import paths
from harness.engines.select import binary

SVMCONF = [sys.executable, "-m", "harness.cli"]
MISSING = "bochs-3.0"
Done = tuple[subprocess.CompletedProcess[str], Path]

pytestmark = [pytest.mark.slow, pytest.mark.engines]


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A cache of its own, where nothing is but the system's QEMU under a second name."""
    env = {**os.environ, "SVMCONF_CACHE": str(tmp_path_factory.mktemp("cache")), "COLUMNS": "160"}
    env.pop("PYTEST_XDIST_WORKER", None)
    found = shutil.which(binary())
    assert found is not None
    done = svmconf(env, "engines", "add", "my-qemu", "--binary", found)
    assert done.returncode == 0, done.stderr
    return env


def svmconf(env: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*SVMCONF, *arguments], cwd=paths.ROOT, env=env, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def done(
    env: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[subprocess.CompletedProcess[str], Path]:
    """A matrix of a few cases, and its folder of runs."""
    out = tmp_path_factory.mktemp("out")
    chosen = ("-k", "SVM-15.4-003 or SVM-V3-003", "--cpu", "EPYC", "-n", "0")
    engines = f"qemu-system,my-qemu,{MISSING}"
    return svmconf(env, "matrix", "--engines", engines, *chosen, "--out", str(out)), out


def test_two_engines_in_one_run(done: Done) -> None:
    process, out = done
    assert process.returncode == 0, process.stdout + process.stderr
    document = json.loads((out / "latest" / "matrix.json").read_text())
    assert [engine["name"] for engine in document["engines"]] == ["qemu-system", "my-qemu", MISSING]
    assert MISSING in document["engines"][2]["unavailable"], "the column says why"
    rows = {row["requirement"]: row for row in document["rows"]}
    assert set(rows["SVM-15.4-003"]["cells"]) == {"qemu-system", "my-qemu"}
    assert not rows["SVM-15.4-003"]["differs"], "it is the same program"
    assert "injected" in rows["SVM-15.4-003"]["cells"]["my-qemu"]["faults"].values()
    assert rows["SVM-V3-003"]["cells"]["my-qemu"]["verdict"] == "expected-fail"
    assert (out / "latest" / "matrix.html").exists()
    assert "they differ in 0" in process.stdout and f"{MISSING}" in process.stdout


def test_its_ledger_answers_diff_and_bisect(env: dict[str, str], done: Done) -> None:
    out = str(done[1])
    same = svmconf(env, "diff", "qemu-system", "my-qemu", "--out", out)
    assert same.returncode == 0 and "none differ" in same.stdout, same.stdout + same.stderr
    missing = svmconf(env, "diff", "qemu-system", MISSING, "--ledger", f"{out}/latest")
    assert missing.returncode == 2 and "is not in" in missing.stderr
    still = svmconf(env, "bisect", "SVM-15.4-003", "--engines", "qemu-system,my-qemu", "--ledger", f"{out}/latest")
    assert still.returncode == 0 and "nothing changed" in still.stdout, still.stdout + still.stderr


def test_bisect_runs_what_it_needs(env: dict[str, str], tmp_path: Path) -> None:
    process = svmconf(
        env, "bisect", "SVM-15.30.4-002", "--engines", "qemu-system,my-qemu", "--cpu", "EPYC", "-n", "0",
        "--out", str(tmp_path),
    )  # fmt: skip
    assert process.returncode == 0 and "asked 2 of 2" in process.stdout, process.stdout + process.stderr
    assert len([ledgers.of(run) for run in tmp_path.iterdir()]) == 2
