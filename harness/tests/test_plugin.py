"""The plugin, from outside: a small suite of its own in a process of its own, with a stranger's hypervisor."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import ledger, paths
from harness.ledger import Ledger, Verdict

IMAGES = Path(__file__).parent / "images"
HEAD = """
import os, signal
import pytest
from harness.boot import Boot
from harness.cases import Cpus, NotRun, boots, requirement
"""
Suite = Callable[..., "Result"]


class Result:
    """What one run of the small suite left."""

    def __init__(self, status: int, said: str, out: Path) -> None:
        self.status = status
        self.said = said
        runs = list(out.glob("*/ledger.jsonl"))
        self.ledger: Ledger | None = ledger.read(runs[0]) if runs else None

    def verdicts(self) -> dict[str, Verdict]:
        assert self.ledger is not None, self.said
        return {e.case.partition("::test_")[2].partition("[")[0]: e.verdict for e in self.ledger.entries}


def start(
    folder: Path, assemble: Callable[[str], Path], cases: str, image: str, *options: str
) -> subprocess.Popen[str]:
    manifest = folder / "it.toml"
    text = (IMAGES / "foreign.toml").read_text()
    manifest.write_text(text.replace('"foreign.bin"', f"'{assemble(image)}'").replace("seconds = 5", "seconds = 30"))
    (folder / "conftest.py").write_text('pytest_plugins = ["harness.plugin"]\n')
    (folder / "test_it.py").write_text(HEAD + cases)
    command = [
        *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(folder), str(folder)),
        *(f"--hypervisor={manifest}", "--engine=tcg", "--cpu=EPYC", f"--out={folder / 'out'}", *options),
    ]
    env = {**os.environ, "PYTHONPATH": str(paths.ROOT)}
    env.pop("PYTEST_XDIST_WORKER", None)
    return subprocess.Popen(
        command,
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


@pytest.fixture
def suite(tmp_path: Path, assemble: Callable[[str], Path]) -> Suite:
    def run(cases: str, *options: str, image: str = "foreign") -> Result:
        process = start(tmp_path, assemble, cases, image, *options)
        said, _ = process.communicate(timeout=120)
        return Result(process.returncode, said, tmp_path / "out")

    return run


def test_every_verdict(suite: Suite) -> None:
    result = suite("""
@requirement("SVM-15.4-001")
@boots()
def test_passes(seen): assert seen.outcome == "ready"

@requirement("SVM-15.4-001")
@boots()
def test_fails(seen): assert seen.outcome == "something else"

@requirement("SVM-15.4-001")
@boots(Boot(guest="hello"))
def test_skips(seen): assert False

@requirement("SVM-15.4-001")
@boots(guest_runs=True)
def test_not_run(seen): assert False

@requirement("SVM-15.4-001")
@boots()
def test_breaks(seen): raise RuntimeError("a bug of the case")
""")
    assert result.verdicts() == {
        "passes": Verdict.PASS,
        "fails": Verdict.FAIL,
        "skips": Verdict.SKIP,
        "not_run": Verdict.NOT_RUN,
        "breaks": Verdict.ERROR,
    }
    assert result.status == 1
    assert "5 planned = 1 pass + 1 fail + 1 skip + 1 error + 1 not-run" in result.said
    assert result.ledger is not None
    reasons = {entry.case: entry.reason for entry in result.ledger.entries}
    assert "offers no guest 'hello'" in reasons["test_it.py::test_skips[qemu-system:EPYC]"]


def test_a_case_takes_part_where_its_requirement_applies(suite: Suite) -> None:
    """SVM-15.4-004 takes SVML, which TCG has not: a case about it alone is skipped, one about two judges the other."""
    result = suite("""
@requirement("SVM-15.4-004")
@boots()
def test_alone(seen): assert False

@requirement("SVM-15.4-003", "SVM-15.4-004")
@boots()
def test_together(seen): pass
""")
    assert result.verdicts() == {"alone": Verdict.SKIP, "together": Verdict.PASS}, result.said
    assert result.ledger is not None
    alone, together = sorted(result.ledger.entries, key=lambda entry: entry.case)
    assert alone.reason == "CPUID Fn8000_000A_EDX[2] (SVML) is 0: no SVM-15.4-004 there"
    assert result.ledger.evidence[alone.evidence].seen is not None
    assert together.requirements == ["SVM-15.4-003"]


def test_all_good_is_status_0(suite: Suite) -> None:
    result = suite("""
@requirement("SVM-15.4-001")
@boots(cpus=Cpus.WITHOUT_SVM, outcomes=("refused.no-svm",))
def test_refuses(seen): assert seen.outcome == "refused.no-svm"
""")
    assert result.status == 0, result.said
    assert result.ledger is not None and [e.cpu for e in result.ledger.entries] == ["EPYC,-svm", "Opteron_G1"]


@pytest.mark.parametrize(
    ("cases", "says"),
    [
        ('@requirement("SVM-99")\n@boots()\ndef test_x(seen): pass', "the catalogue has no requirement SVM-99"),
        ("@boots()\ndef test_x(seen): pass", "checks no requirement"),
        ('@requirement("SVM-15.4-001")\ndef test_x(seen): pass', "uses `seen` without @boots"),
    ],
)
def test_mistakes_in_a_case_stop_collection(suite: Suite, cases: str, says: str) -> None:
    result = suite(cases)
    assert result.status != 0
    assert says in result.said


def test_a_known_deviation_is_strict(suite: Suite, tmp_path: Path) -> None:
    folder = tmp_path / "expectations"
    folder.mkdir()
    entry = """
[[deviation]]
requirement = "SVM-15.4-001"
case = "test_{}"
observed = "it deviates"
cause = "of this"
upstream = "not reported"
date = 2026-01-01
"""
    unreached, by_chance = entry + "unreached = true\n", entry + "by_chance = true\n"
    entries = [
        *(entry.format(name) for name in ("deviates", "is_mended", "is_not_reached_but_should")),
        *(unreached.format(name) for name in ("is_not_reached", "is_reached_and_fails")),
        *(by_chance.format(name) for name in ("shows_by_chance", "does_not_show")),
    ]
    result = suite(
        f"""
import pathlib
from harness import paths
from harness.engines import select
name = select.SYSTEM
pathlib.Path({str(folder)!r}, name + ".toml").write_text({"".join(entries)!r})
from harness.spec import expectations
expectations.load.__wrapped__.__defaults__ = (pathlib.Path({str(folder)!r}),)

@requirement("SVM-15.4-001")
@boots()
def test_deviates(seen): assert seen.outcome == "something else"

@requirement("SVM-15.4-001")
@boots()
def test_is_mended(seen): assert seen.outcome == "ready"

@requirement("SVM-15.4-001")
@boots()
def test_shows_by_chance(seen): assert seen.outcome == "something else"

@requirement("SVM-15.4-001")
@boots()
def test_does_not_show(seen): assert seen.outcome == "ready"

@requirement("SVM-15.4-001")
@boots()
def test_is_not_reached(seen): raise NotRun("not as far as that")

@requirement("SVM-15.4-001")
@boots()
def test_is_not_reached_but_should(seen): raise NotRun("not as far as that")

@requirement("SVM-15.4-001")
@boots()
def test_is_reached_and_fails(seen): assert seen.outcome == "something else"
"""
    )
    assert result.verdicts() == {
        "deviates": Verdict.EXPECTED_FAIL,
        "is_mended": Verdict.FAIL,
        "is_not_reached": Verdict.EXPECTED_FAIL,
        "is_not_reached_but_should": Verdict.NOT_RUN,
        "is_reached_and_fails": Verdict.FAIL,
        "shows_by_chance": Verdict.EXPECTED_FAIL,
        "does_not_show": Verdict.EXPECTED_FAIL,
    }, result.said
    assert result.status == 1
    assert result.ledger is not None
    reasons = {entry.function.rpartition("::test_")[2]: entry.reason for entry in result.ledger.entries}
    assert reasons["does_not_show"] == f"not this time: {reasons['shows_by_chance']}"
    found = {entry.function.rpartition("::test_")[2]: entry.found for entry in result.ledger.entries}
    assert found.pop("deviates") == found.pop("shows_by_chance") == "assert 'ready' == 'something else'"
    assert found.pop("is_not_reached") == "not as far as that" and not any(found.values())


def test_a_worker_that_dies_loses_no_row(suite: Suite) -> None:
    result = suite(
        """
@requirement("SVM-15.4-001")
@boots()
def test_a(seen): pass

@requirement("SVM-15.4-001")
@boots()
def test_kills_its_worker(seen): os.kill(os.getpid(), signal.SIGKILL)
""",
        "-n2",
    )
    assert result.verdicts() == {"a": Verdict.PASS, "kills_its_worker": Verdict.NOT_RUN}
    assert result.ledger is not None and "-n2" in result.ledger.header.command  # not what the worker was called with
    assert result.status == 1


def test_sigkill_to_pytest_leaves_no_engine(tmp_path: Path, assemble: Callable[[str], Path]) -> None:
    cases = '@requirement("SVM-15.4-001")\n@boots(cpus=Cpus.CHOSEN)\ndef test_x(seen): pass'
    process = start(tmp_path, assemble, cases, "hangs", "-n2")
    assert process.stdout is not None
    engines = _wait(lambda: _engines_of(tmp_path))
    assert engines, "no engine was started"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert _wait(lambda: not _engines_of(tmp_path)), "an engine outlived pytest"


def test_unwritable_reports(suite: Suite) -> None:
    result = suite('@requirement("SVM-15.4-001")\n@boots()\ndef test_x(seen): pass', "--out=/proc/none")
    assert result.status != 0
    assert "cannot write reports to" in result.said and "--out DIR chooses another folder" in result.said


def _engines_of(folder: Path) -> list[int]:
    """Engines that write into that folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = process.read_bytes()
        except OSError:
            continue
        if b"qemu-system" in line and str(folder).encode() in line:
            found.append(int(process.parent.name))
    return found


def _wait(what: Callable[[], object]) -> object:
    """Ask until it is so, for at most 15 seconds."""
    for _ in range(150):
        answer = what()
        if answer:
            return answer
        time.sleep(0.1)
    return what()
