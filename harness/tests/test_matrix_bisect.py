"""The first version that changed, found with few questions."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness import ledger as ledgers
from harness.bisect import Found, bisect
from harness.commands.bisect import command
from harness.errors import SvmconfError
from harness.ledger import Verdict
from harness.tests.ledgers import engine, entry, ledger

ROW = [f"e-{n}" for n in range(10)]


def search(row: str, every: bool = False) -> tuple[Found[str], list[str]]:
    """Each letter is what the engine at that place observes; also in which order they were asked."""
    asked: list[str] = []

    def ask(name: str) -> str:
        asked.append(name)
        return row[int(name.removeprefix("e-"))]

    return bisect(ROW[: len(row)], ask, every), asked


@pytest.mark.parametrize("place", range(1, 10))
def test_the_first_that_changed(place: int) -> None:
    found, asked = search("a" * place + "b" * (10 - place))
    assert found.changes == ((ROW[place - 1], ROW[place]),) and found.monotonic
    assert asked[:2] == [ROW[0], ROW[-1]], "the ends first"
    assert len(asked) <= 6 and len(asked) == len(set(asked))
    assert list(found.seen) == sorted(found.seen)


def test_nothing_changed() -> None:
    found, asked = search("aaaaaaaaaa")
    assert found.changes == () and found.monotonic and len(asked) == 2


def test_a_stray_between_is_told() -> None:
    found, _ = search("aaaacbbbbb")
    assert found.changes == ((ROW[3], ROW[4]),) and found.strays == (ROW[4],) and not found.monotonic


def test_every_change() -> None:
    found, asked = search("aabbaabbbb", every=True)
    assert found.changes == ((ROW[1], ROW[2]), (ROW[3], ROW[4]), (ROW[5], ROW[6]))
    assert not found.monotonic and found.strays == () and asked == ROW


def test_to_and_fro_between_like_ends_is_found_by_all() -> None:
    assert search("aaabaaaaaa")[0].changes == ()
    found, _ = search("aaabaaaaaa", every=True)
    assert len(found.changes) == 2 and not found.monotonic


# The command, on a recorded run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Four versions, named in another order than they have; the third changes."""
    versions = {
        "qemu-10.0": "10.0.13 (x)",
        "qemu-5.2": "5.2.0 (x)",
        "qemu-10.0.2": "10.0.2 (x)",
        "qemu-7.2": "7.2.22 (x)",
    }
    bad = (Verdict.FAIL, "vector 13")
    entries = [entry("t", name, *(bad if name.startswith("qemu-10") else ())) for name in versions]
    entries += [entry("u", name, requirements=["SVM-15.4-002"]) for name in versions]
    lines = [engine(name, version) for name, version in versions.items()]
    ledgers.settle(ledger([*lines, engine("bochs-3.0")], [*entries, entry("t", "bochs-3.0")]), tmp_path)
    return tmp_path


def ask(run: Path, *arguments: str) -> Result:
    return CliRunner().invoke(command, [*arguments, f"--ledger={run}"], env={"COLUMNS": "120"})


def test_names_the_version_and_shows_both_sides(run: Path) -> None:
    done = ask(run, "SVM-15.4-001")
    assert done.exit_code == 1
    assert "SVM-15.4-001 changed in qemu-10.0.2: unlike qemu-7.2 before it" in done.output
    assert "fail: vector 13" in done.output and "asked 4 of 4" in done.output


def test_says_that_nothing_changed(run: Path) -> None:
    done = ask(run, "15.4-002")
    assert done.exit_code == 0
    assert "nothing changed between qemu-5.2 and qemu-10.0; those between were not asked" in done.output
    assert "were not asked" not in ask(run, "SVM-15.4-002", "--all").output


def test_a_row_of_one_s_own(run: Path) -> None:
    done = ask(run, "SVM-15.4-001", "--engines", "qemu-10.0,bochs-3.0,qemu-5.2")
    assert "changed in bochs-3.0: unlike qemu-10.0" in done.output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("SVM-15.4-999",), "no requirement SVM-15.4-999"),
        (("SVM-15.4-003",), "no case of SVM-15.4-003 ran on qemu-5.2"),
        (("SVM-15.4-001", "--family", "xen"), "a row of 0"),
        (("SVM-15.4-001", "--engines", "qemu-5.2,nope"), "no case of SVM-15.4-001 ran on nope"),
    ],
)
def test_mistakes(run: Path, arguments: tuple[str, ...], says: str) -> None:
    done = ask(run, *arguments)
    assert isinstance(done.exception, SvmconfError) and says in done.exception.what
