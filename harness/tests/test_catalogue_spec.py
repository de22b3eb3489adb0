"""``svmconf spec``, as a person meets it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.cli import main
from harness.ledger import Header, Ledger, Verdict, settle
from harness.spec import catalogue, claims, expectations, results
from harness.tests.ledgers import engine, entry, ledger

Spec = Callable[..., tuple[int, str, str]]


@pytest.fixture
def spec(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Spec:
    monkeypatch.setenv("COLUMNS", "120")

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["svmconf", "spec", "--out", str(tmp_path), *arguments])
        monkeypatch.setattr("signal.signal", lambda *_: None)
        with pytest.raises(SystemExit) as leaving:
            main()
        said = capsys.readouterr()
        return int(leaving.value.code or 0), said.out, said.err

    return run


def found(listed: str) -> list[str]:
    return [line.split()[0] for line in listed.splitlines() if line.startswith("SVM-")]


def test_one_in_full(spec: Spec) -> None:
    status, said, _ = spec("15.5.1-c-031")
    case = next(case for case in claims.suite() if case.name == "test_invalid_exit_code_is_64_bits_wide")
    known = [it for it in expectations.every()["qemu"] if it.requirement == "SVM-15.5.1-C-031"]
    assert status == 0
    for part in (
        "SVM-15.5.1-C-031  15.5.1 VMRUN: Canonicalization and Consistency Checks",
        "On VMEXIT_INVALID the EXITCODE field holds -1 as a full 64-bit value.",
        "platform, must",
        "SVM (Fn8000_0001_ECX[2])",
        f"{case.source} {case.name}",
        *(it.observed for it in known),
    ):
        assert part in said


def test_what_cannot_be_tested_says_why(spec: Spec) -> None:
    _, said, _ = spec("SVM-15.24-001")
    assert f"untestable: {catalogue.find('SVM-15.24-001').reason}" in " ".join(said.split())
    assert "no case" in said


def test_conditions_combine(spec: Spec) -> None:
    known = catalogue.load().values()
    _, said, _ = spec("--section", "15.21")
    assert sorted(found(said)) == sorted(r.id for r in known if r.within("15.21"))
    _, said, _ = spec("--section", "15.21", "--uncovered")
    planned = [r.id for r in known if r.within("15.21") and r.status == "planned"]
    assert sorted(found(said)) == sorted(planned)
    _, said, _ = spec("--section", "15.21", "--grep", "V_TPR")
    assert set(found(said)) < {r.id for r in known if r.within("15.21")} and found(said)


def test_a_section_holds_its_sub_sections(spec: Spec) -> None:
    _, said, _ = spec("--section", "15.5")
    known = catalogue.load()
    assert {known[name].section for name in found(said)} == {"15.5", "15.5.1", "15.5.2"}


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (("SVM-15.5.1-0031",), 2, "the catalogue has no requirement SVM-15.5.1-0031"),
        (("SVM-15.5.1-0031",), 2, "did you mean SVM-15.5.1-0"),
        (("--section", "15.99"), 2, "the catalogue has no section 15.99"),
        (("--section", "15.99"), 2, "did you mean 15.9"),
        (("--grep", "no such words"), 1, "no requirement is like that"),
    ],
)
def test_mistakes_are_one_line(spec: Spec, arguments: tuple[str, ...], status: int, says: str) -> None:
    left, said, error = spec(*arguments)
    assert (left, said) == (status, "") and says in error
    assert error.count("\n") == (2 if status == 2 else 1), error


def run(out: Path, name: str, made: Ledger, **header: str) -> None:
    (out / name).mkdir()
    changed = Header.model_validate(
        made.header.model_dump() | {"run": name, "started": name, "hypervisor": "svmconf"} | header
    )
    settle(made.model_copy(update={"header": changed}), out / name)


def test_results_are_those_of_the_newest_run_on_each_engine(spec: Spec, tmp_path: Path) -> None:
    both = [engine("a"), engine("b", "2.0")]
    run(tmp_path, "2026-01-01", ledger(both, [entry("test_x", "a", Verdict.FAIL), entry("test_x", "b", version="2.0")]))
    newer = [entry("test_x", "a"), entry("test_x", "a", Verdict.EXPECTED_FAIL, "known", cpu="max")]
    run(tmp_path, "2026-01-02", ledger([engine("a")], [*newer, entry("test_y", "a", requirements=["SVM-15.4-002"])]))
    run(tmp_path, "2026-01-03", ledger(both, [entry("test_x", "a", Verdict.ERROR)]), defect="vendor-unchecked")
    run(tmp_path, "2026-01-04", ledger(both, [entry("test_x", "b", Verdict.ERROR)]), hypervisor="foreign")
    (tmp_path / "2026-01-05").mkdir()
    (tmp_path / "2026-01-05" / "ledger.jsonl").write_text("no ledger\n")
    a, b = results.latest("SVM-15.4-001", tmp_path)
    assert (a.engine, a.run, a.counts) == ("a", "2026-01-02", {Verdict.PASS: 1, Verdict.EXPECTED_FAIL: 1})
    assert (b.engine, b.version, b.run, b.counts) == ("b", "2.0", "2026-01-01", {Verdict.PASS: 1})
    _, said, _ = spec("SVM-15.4-001")
    assert "a (1.0): 1 pass, 1 expected-fail  2026-01-02" in said


def test_without_a_run_there_are_no_results(spec: Spec, tmp_path: Path) -> None:
    _, said, _ = spec("SVM-15.4-001")
    assert f"no results in {tmp_path}" in said.replace("\n", "")
