"""A run can be finished after a kill, and a published one proves whole or is told apart."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness import ledger, paths, suite
from harness.ledger import Entry, Evidence, Line, Plan, Verdict, Writer
from harness.tests.test_ledger import HEADER, SEEN
from harness.verify import problems

CASES = ["conformance/a/test_b.py::test_c[e:EPYC]", "conformance/a/test_b.py::test_d[e:EPYC]"]


def entry(case: str) -> Entry:
    return Entry(
        case=case, function=case.partition("[")[0], claim="It holds.", source="x.py:1", requirements=["SVM-15.4-001"],
        engine="e", engine_version="1", cpu="EPYC", verdict=Verdict.PASS, started=1.0, seconds=0.5, evidence="it",
        program=Evidence(id="it", observation=SEEN).program,
    )  # fmt: skip


@pytest.fixture
def whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    names = [(name, None, None) for name in ("a/test_b::test_c", "a/test_b::test_d")]
    monkeypatch.setattr(suite, "cases", lambda mark: iter(names if mark == "boots" else ()))
    writer = Writer(tmp_path / "ledger-gw0.jsonl")
    lines: list[Line] = [HEADER, Plan(cases=CASES), Evidence(id="it", observation=SEEN), *map(entry, CASES)]
    for line in lines:
        writer.write(line)
    writer.close()
    ledger.merge(tmp_path)
    yield tmp_path / "ledger.jsonl"


def test_a_whole_one_is_whole(whole: Path) -> None:
    assert list(problems(whole)) == []


def without(text: str, *words: str) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if not all(word in line for word in words))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda text: text.replace('"pass"', '"fail"', 1), "was altered"),
        (lambda text: without(text, '"line":"seal"'), "no seal"),
        (lambda text: without(text, '"line":"evidence"'), "lines, its seal"),
        (lambda text: without(text, '"line":"evidence"'), "no evidence"),
        (lambda text: without(text, '"line":"entry"', CASES[1]), "left no verdict"),
        (lambda text: text.replace('"image_sha256":"0', '"image_sha256":"1'), "name another program"),
        (lambda text: text.replace('"image_sha256":"0', '"image_sha256":"1'), "was altered"),
    ],
)
def test_what_is_wrong_is_named(whole: Path, change: Callable[[str], str], says: str) -> None:
    whole.write_text(change(whole.read_text()))
    assert any(says in problem for problem in problems(whole)), list(problems(whole))


def test_a_case_that_the_suite_has_and_the_ledger_has_not(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "cases", lambda mark: iter([("a/test_b::test_new", None, None)]))
    found = list(problems(whole))
    assert any("not in it, the first is conformance/a/test_b.py::test_new" in problem for problem in found)
    assert any("not in this suite, the first is conformance/a/test_b.py::test_c" in problem for problem in found)


def test_the_schema_in_the_docs_is_that_of_the_ledger() -> None:
    """After a change: python -m harness.tests.test_verify."""
    assert json.loads((paths.ROOT / "docs" / "ledger.schema.json").read_text()) == ledger.schema()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="no qemu-system-x86_64 to run on")
def test_a_killed_run_is_finished(tmp_path: Path) -> None:
    def svmconf(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "harness.cli", *arguments]
        return subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True, **options)  # type: ignore[call-overload, no-any-return]

    options = ["--no-allure", "--cpu=EPYC", "-k", "order or msr", "-n", "1", f"--out={tmp_path}"]
    assert svmconf("run", *options).returncode == 0
    folder = next(p for p in tmp_path.iterdir() if not p.is_symlink())
    lines = (folder / "ledger.jsonl").read_text().splitlines(keepends=True)
    verdicts = [n for n, line in enumerate(lines) if line.startswith('{"line":"entry"')]
    (folder / "ledger-gw0.jsonl").write_text("".join(lines[: verdicts[1]]) + lines[verdicts[1]][:40])
    (folder / "ledger.jsonl").unlink()

    assert "holds no whole ledger" in svmconf("verify", str(folder)).stderr
    done = svmconf("resume", "--no-allure", "-n", "1", str(folder))
    assert done.returncode == 0, done.stderr
    assert f"{len(verdicts) - 1} of {len(verdicts)} cases are left" in done.stdout
    finished = ledger.read(folder / "ledger.jsonl")
    assert len(finished.entries) == len(verdicts) and finished.good
    assert "is complete" in svmconf("resume", str(folder)).stderr


if __name__ == "__main__":
    (paths.ROOT / "docs" / "ledger.schema.json").write_text(json.dumps(ledger.schema(), indent=1) + "\n")
