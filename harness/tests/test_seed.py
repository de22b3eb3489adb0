"""What is drawn at random is the same under the same seed, whatever else runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness import paths, seed
from harness.errors import SvmconfError

CASES = """
import random
from pathlib import Path

AT_IMPORT = random.random()

def note(name):
    with Path("drawn").open("a") as file:
        print(name, AT_IMPORT, random.random(), file=file)

def test_one(): note("one")
def test_two(): note("two")
"""


def env() -> dict[str, str]:
    """A process of its own, no worker of the one that runs this test."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return kept | {"PYTHONPATH": str(paths.ROOT)}


def drawn(folder: Path, *options: str) -> set[str]:
    folder.mkdir(exist_ok=True)
    (folder / "drawn").unlink(missing_ok=True)
    (folder / "test_a.py").write_text("import random\nrandom.random()\ndef test_x(): random.random()\n")
    (folder / "test_it.py").write_text(CASES)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "harness.plugin", *options]
    done = subprocess.run(command, cwd=folder, env=env(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return set((folder / "drawn").read_text().splitlines())


def test_the_same_seed_draws_the_same(tmp_path: Path) -> None:
    whole = drawn(tmp_path / "s", "--seed=7")
    assert len({word for line in whole for word in line.split()}) == 5  # two names, one at import, one in each case
    assert drawn(tmp_path / "s", "--seed=7", "-n", "1", "test_it.py::test_two") < whole
    assert not drawn(tmp_path / "s", "--seed=8") & whole


def test_without_one_it_is_new() -> None:
    assert seed.parse("") != seed.parse("")
    assert seed.parse("12") == 12


@pytest.mark.parametrize("text", ["x", "-1", "4294967296"])
def test_what_is_no_seed(text: str) -> None:
    with pytest.raises(SvmconfError, match="no seed"):
        seed.parse(text)
