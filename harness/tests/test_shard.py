"""A run split over machines: the same split everywhere, every case in exactly one part."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import pytest

from harness import ledger as ledgers
from harness import paths
from harness.errors import SvmconfError
from harness.ledger import Verdict
from harness.merge import merge
from harness.shard import Shard
from harness.tests.test_plugin import start

CASES = [f"conformance/x/test_x.py::test_{n}[qemu-7.2:EPYC]" for n in range(200)]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_each_case_is_in_one_part(count: int) -> None:
    parts = [[case for case in CASES if Shard(index, count).holds(case)] for index in range(1, count + 1)]
    assert sorted(chain(*parts)) == sorted(CASES)
    assert min(map(len, parts)) > len(CASES) / count / 2


def test_the_split_is_for_ever() -> None:
    """Machines with other versions of Python, and runs of another year, must agree."""
    assert [Shard.of(case, 4).index for case in CASES[:8]] == [4, 3, 4, 1, 2, 2, 4, 3]


@pytest.mark.parametrize("text", ["0/2", "3/2", "1/0", "1", "a/b", "-1/2", "1/2/3", ""])
def test_what_is_no_shard(text: str) -> None:
    with pytest.raises(SvmconfError, match="no shard"):
        Shard.parse(text)
    assert Shard.parse(" 2/4 ") == Shard(2, 4) and str(Shard(2, 4)) == "2/4"


SUITE = """
@requirement("SVM-15.4-001")
@boots(*[Boot(name=str(n)) for n in range(6)])
def test_a(seen): assert seen.outcome == "ready"

@requirement("SVM-15.4-002")
@boots()
def test_b(seen): pass

def test_without_a_setting(): pass
"""


def test_two_machines_do_what_one_does(tmp_path: Path, assemble: Callable[[str], Path]) -> None:
    said, parts = [], []
    for index in (1, 2):
        folder = tmp_path / f"{index}"
        folder.mkdir()
        process = start(folder, assemble, SUITE, "foreign", f"--shard={index}/2")
        said.append(process.communicate(timeout=120)[0])
        assert process.returncode == 0, said[-1]
        parts.append(ledgers.of(next((folder / "out").iterdir())))
    assert all("more in other shards" in each and "deselected" in each for each in said)
    assert set(parts[0].planned).isdisjoint(parts[1].planned)
    assert [part.header.shards for part in parts] == [["1/2"], ["2/2"]]
    whole = merge(parts, "all")
    assert whole.arithmetic() == "7 planned = 7 pass"
    alone = merge(parts[:1], "half")
    assert alone.planned == whole.planned and len(parts[1].planned) == alone.counts[Verdict.NOT_RUN]


def test_a_shard_without_a_case_is_no_failure(tmp_path: Path, assemble: Callable[[str], Path]) -> None:
    case = "test_it.py::test_b[qemu-system:EPYC]"
    index = next(n for n in range(1, 8) if not Shard(n, 7).holds(case))
    process = start(tmp_path, assemble, SUITE, "foreign", "-ktest_b", f"--shard={index}/7")
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    part = ledgers.of(next((tmp_path / "out").iterdir()))
    assert part.planned == [] and part.elsewhere == [case]
    assert "0 planned = nothing (1 more in other shards)" in said


def test_no_shard_is_one_clear_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--shard=5/4", "--collect-only", "harness/tests/test_shard.py"],
        cwd=paths.ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 4 and "no shard '5/4'" in done.stderr and "Traceback" not in done.stderr
