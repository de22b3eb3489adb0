"""The table from hand-made ledgers: who is unlike the others, what is said of faults and layers, and how it reads."""

from __future__ import annotations

import json
import time
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from conformance.faults import svml, vm_cr
from harness.boot import Boot, Insn
from harness.ledger import Entry, Ledger, Verdict
from harness.msr import CPUID_SVM, Msr, VmCr
from harness.report import matrix, matrix_page, matrix_text, terminal, write_all
from harness.report.matrix import Row
from harness.spec import catalogue
from harness.tests import ledgers
from harness.tests.ledgers import boot, entry, event, ledger, program, step

ENGINES = ("qemu-5.2", "qemu-7.2", "bochs-3.0")
PASS, FAIL, SKIP = Verdict.PASS, Verdict.FAIL, Verdict.SKIP
KNOWN, ERROR, NOT_RUN = Verdict.EXPECTED_FAIL, Verdict.ERROR, Verdict.NOT_RUN


def row_of(*verdicts: tuple[Verdict, str], engines: tuple[str, ...] = ENGINES) -> Row:
    """A row of one case with a verdict and a reason on each engine."""
    entries = [entry("test_a", name, *each) for name, each in zip(engines, verdicts, strict=True)]
    (row,) = matrix.of(ledger(engines, entries)).rows
    return row


def odd(row: Row) -> list[int]:
    return [number for number, cell in enumerate(row.cells) if cell.odd]


def test_all_agree() -> None:
    row = row_of((PASS, ""), (PASS, ""), (PASS, ""))
    assert not row.differs and odd(row) == [] and row.clean


def test_the_minority_is_odd() -> None:
    row = row_of((PASS, ""), (FAIL, "vector 13"), (PASS, ""))
    assert row.groups == ((0, 2), (1,)) and odd(row) == [1] and not row.clean


def test_a_pass_among_deviations_is_the_odd_one() -> None:
    row = row_of((KNOWN, "x: it runs (cause; link)"), (KNOWN, "x: it runs (another cause; link)"), (PASS, ""))
    assert row.groups == ((0, 1), (2,)) and odd(row) == [2]


def test_deviations_that_show_otherwise_are_apart() -> None:
    row = row_of((KNOWN, "x: it runs (c; l)"), (KNOWN, "x: it hangs (c; l)"), (PASS, ""))
    assert row.differs and len(row.groups) == 3


def test_a_known_deviation_is_not_the_same_as_a_new_one() -> None:
    assert row_of((KNOWN, "x: it runs (c; l)"), (FAIL, "x: it runs"), (PASS, "")).groups[0] == (2,)


@pytest.mark.parametrize(
    ("pair", "expected"),
    [
        ([(FAIL, "a"), (PASS, "")], [0]),  # of two the manual decides
        ([(FAIL, "a"), (FAIL, "b")], []),  # of two that both deviate nobody can
        ([(PASS, ""), (NOT_RUN, "no guest ran")], [1]),
    ],
)
def test_two_engines(pair: list[tuple[Verdict, str]], expected: list[int]) -> None:
    row = row_of(*pair, engines=ENGINES[:2])
    assert row.differs and odd(row) == expected


def test_only_the_first_line_counts_and_not_the_engine_s_name() -> None:
    words = [f"EngineError: {name}: engine crashed\nline {n}" for n, name in enumerate(ENGINES)]
    assert not row_of(*((ERROR, each) for each in words)).differs


def test_skips_beside_passes_are_no_difference() -> None:
    """A CPU model without a feature says nothing of the engine, unless that is all there is."""
    entries = [entry("test_a", name, cpu=cpu) for name in ENGINES for cpu in ("EPYC", "qemu64")]
    entries[1] = entry("test_a", ENGINES[0], SKIP, "no NPT", cpu="qemu64")
    (row,) = matrix.of(ledger(ENGINES, entries)).rows
    assert not row.differs
    assert row.cells[0].counts == {SKIP: 1, PASS: 1} and row.cells[0].verdict is PASS


def test_a_skip_is_no_difference() -> None:
    """It says what is missing, not what the engine does."""
    row = row_of((PASS, ""), (SKIP, "no LBR"), (PASS, ""))
    assert not row.differs and row.groups == ((0, 2),) and row.cells[1].verdict is SKIP


def test_worst_first() -> None:
    verdicts = list(Verdict)
    entries = [entry("test_a", "e", verdict, "r", variant=verdict) for verdict in verdicts]
    (row,) = matrix.of(ledger(["e"], entries)).rows
    assert list(row.cells[0].counts) == list(matrix.WORST_FIRST) and sorted(matrix.WORST_FIRST) == sorted(verdicts)
    assert row.cells[0].verdict is FAIL


def test_an_engine_where_no_case_ran_takes_no_part() -> None:
    (row,) = matrix.of(ledger(ENGINES, [entry("test_a", name) for name in ENGINES[:2]])).rows
    assert not row.differs and row.cells[2].verdict is None


def test_a_case_of_several_requirements_is_in_each_row() -> None:
    both = ("SVM-15.4-003", "SVM-15.4-002")
    table = matrix.of(ledger(["e"], [entry("test_a", "e", requirements=both)]))
    assert [row.id for row in table.rows] == ["SVM-15.4-002", "SVM-15.4-003"]


def test_rows_stand_as_in_the_manual() -> None:
    ids = ("SVM-V3-003", "SVM-15.30.4-002", "SVM-15.5.1-004", "SVM-15.10-001", "SVM-15.4-001")
    table = matrix.of(ledger(["e"], [entry("test_a", "e", requirements=ids)]))
    assert [row.id for row in table.rows] == [ids[4], ids[2], ids[3], ids[1], ids[0]]


def test_a_lost_case_keeps_its_row() -> None:
    lost = entry("test_a", ENGINES[1], NOT_RUN, "its worker ended", requirements=(), started=0.0)
    (row,) = matrix.of(ledger(ENGINES[:2], [entry("test_a", ENGINES[0]), lost])).rows
    assert row.id == "SVM-15.4-001" and odd(row) == [1]


def test_a_case_that_was_lost_everywhere_is_shown_all_the_same() -> None:
    lost = entry("test_a", "e", NOT_RUN, "its worker ended", requirements=(), started=0.0)
    (row,) = matrix.of(ledger(["e"], [lost])).rows
    assert row.requirement is None and row.cells[0].counts == {NOT_RUN: 1}


def test_uncovered_requirements_only_when_asked() -> None:
    made = ledger(["e"], [entry("test_a", "e")])
    assert len(matrix.of(made).rows) == 1
    assert [row.id for row in matrix.of(made, uncovered=True).rows if row.cells[0].judged] == ["SVM-15.4-001"]
    assert len(matrix.of(made, uncovered=True).rows) == len(catalogue.load())


# Where an observation comes from

FIRMWARE = Boot(name="locked", faults=(vm_cr(VmCr.SVMDIS | VmCr.LOCK), svml(False)))
RDMSR = event(Insn.RDMSR, before={"rcx": Msr.VM_CR}, tampered=True)
CPUID = event(Insn.CPUID, before={"rax": CPUID_SVM}, tampered=True)


def with_evidence() -> Ledger:
    evidence = [
        boot("tcg", "qemu-7.2", FIRMWARE, trace=[RDMSR, CPUID]),
        boot("bochs", "bochs-3.0", FIRMWARE, arranged=FIRMWARE.faults, trace=[]),
        boot("kvm", "kvm-6.12", FIRMWARE, arranged=FIRMWARE.faults[:1], layers=["KVM answers VMRUN, TCG runs it"]),
        program("steps", "kvm-6.12", step(None, "KVM"), step(13, "TCG"), step(13, "KVM")),
    ]
    on = {"tcg": "qemu-7.2", "bochs": "bochs-3.0", "kvm": "kvm-6.12"}
    entries = [entry("test_off", name, requirements=("SVM-15.4-003",), evidence=id) for id, name in on.items()]
    entries.append(entry("test_steps", "kvm-6.12", requirements=("SVM-15.5.1-004",), evidence="steps"))
    return ledger(on.values(), entries, evidence)


def test_faults_are_real_or_injected_or_never_met() -> None:
    row = matrix.of(with_evidence()).rows[0]
    said = [[str(one) for one in cell.told] for cell in row.cells]
    assert said == [
        ["SVMDIS and LOCK: injected", "no SVML: injected"],
        ["SVMDIS and LOCK: real", "no SVML: real"],
        ["SVMDIS and LOCK: real", "no SVML: not met"],
    ]


def test_the_page_says_which(tmp_path: Path) -> None:
    matrix_page.write(matrix.of(with_evidence()), tmp_path)
    page = (tmp_path / "matrix.html").read_text()
    assert ">SVMDIS real</i>" in page and ">SVMDIS injected</i>" in page and ">SVML not met</i>" in page
    row = json.loads((tmp_path / "matrix.json").read_text())["rows"][0]
    assert row["cells"]["bochs-3.0"]["faults"] == {"SVMDIS and LOCK": "real", "no SVML": "real"}


def test_layers_that_answered(tmp_path: Path) -> None:
    table = matrix.of(with_evidence())
    cell = table.rows[1].cells[2]
    assert cell.answered == ("KVM", "TCG")
    assert table.rows[0].cells[2].judged[0].layers == ("KVM answers VMRUN, TCG runs it",)
    matrix_page.write(table, tmp_path)
    assert ">by KVM, TCG</i>" in (tmp_path / "matrix.html").read_text()


# What is written

NASTY = "</script><script>alert(1)</script> & {{ 7 * 7 }}"


def nasty() -> Ledger:
    entries = [entry("test_a", name, FAIL, NASTY) for name in ENGINES]
    return ledger(ENGINES, entries, unavailable={"xen-4.17": f"not fetched {NASTY}"})


def test_text_from_a_ledger_is_never_markup(tmp_path: Path) -> None:
    matrix_page.write(matrix.of(nasty()), tmp_path)
    page = (tmp_path / "matrix.html").read_text()
    assert page.count("</script>") == 2 and "<script>alert" not in page and "{{ 7 * 7 }}" in page
    assert NASTY in json.loads((tmp_path / "matrix.json").read_text())["engines"][3]["unavailable"]


def test_the_page_needs_nothing_else(tmp_path: Path) -> None:
    matrix_page.write(matrix.of(nasty()), tmp_path)
    page = (tmp_path / "matrix.html").read_text()
    assert "http:" not in page and "https:" not in page and "src=" not in page and "url(" not in page


def test_an_engine_that_is_not_here_is_a_column_that_says_why(tmp_path: Path) -> None:
    made = ledger(["e"], [entry("test_a", "e")], unavailable={"xen-4.17": "engine xen-4.17 is not fetched"})
    write_all(made, tmp_path)
    assert "not here: engine xen-4.17 is not fetched" in (tmp_path / "matrix.html").read_text()
    document = json.loads((tmp_path / "matrix.json").read_text())
    assert [engine["name"] for engine in document["engines"]] == ["e", "xen-4.17"]


def test_one_engine_alone_gets_no_matrix(tmp_path: Path) -> None:
    write_all(ledger(["e"], [entry("test_a", "e")]), tmp_path)
    assert not (tmp_path / "matrix.html").exists() and (tmp_path / "summary.html").exists()


def test_json_has_rows_and_cases(tmp_path: Path) -> None:
    entries = [entry("test_a", "e", cpu="EPYC,-svm"), entry("test_a", "f", FAIL, "it\nruns")]
    matrix_page.write(matrix.of(ledger(["e", "f"], entries)), tmp_path)
    document = json.loads((tmp_path / "matrix.json").read_text())
    (row,) = document["rows"]
    assert row["requirement"] == "SVM-15.4-001" and row["differs"] and row["odd"] == ["f"]
    assert row["groups"] == [["e"], ["f"]]
    assert row["cells"]["f"] == {"verdict": "fail", "counts": {"fail": 1}, "cases": [entries[1].case]}
    assert document["cases"][entries[1].case]["reason"] == "it\nruns"


@pytest.mark.parametrize(
    ("header", "made", "command"),
    [
        ({}, entry("test_a", "e", cpu="EPYC,-svm"), "svmconf run --engine e --cpu EPYC -k test_a"),
        ({}, entry("a", "e", cpu="EPYC,-npt"), "svmconf run --engine e --cpu EPYC,-npt -k a"),
        ({"defect": "bad-rax"}, entry("test_a", "e"), "svmconf run --defect bad-rax --engine e --cpu EPYC -k test_a"),
        ({"hypervisor": "x"}, entry("a", "e@7.2"), "svmconf run --hypervisor x.toml --engine e --cpu EPYC -k a"),
    ],
)
def test_what_repeats_a_case(header: dict[str, Any], made: Entry, command: str) -> None:
    assert matrix.of(ledger([made.engine], [made], **header)).command(made) == command


def shown(made: Ledger, width: int = 100) -> str:
    console = Console(width=width, file=StringIO(), record=True)
    terminal.show(made, console)
    return console.export_text()


def test_the_terminal_shows_only_what_is_news() -> None:
    entries = [entry("test_same", name, KNOWN, "x: so", requirements=("SVM-15.4-002",)) for name in ENGINES]
    entries += [entry("test_good", name, requirements=("SVM-15.4-003",)) for name in ENGINES]
    entries += [entry("test_odd", name, requirements=("SVM-15.4-004",)) for name in ENGINES[:2]]
    entries.append(entry("test_odd", ENGINES[2], FAIL, "vector 13", requirements=("SVM-15.4-004",)))
    entries += [entry("test_bad", name, FAIL, "all wrong", requirements=("SVM-15.4-005",)) for name in ENGINES]
    text = shown(ledger(ENGINES, entries))
    assert "SVM-15.4-002" not in text and "SVM-15.4-003" not in text
    assert "fail on bochs-3.0 (odd): vector 13" in text
    assert "fail on qemu-5.2, qemu-7.2, bochs-3.0: all wrong" in text
    assert "they differ in 1" in text and "12 planned = 5 pass + 4 fail + 3 expected-fail" in text


def test_the_terminal_names_every_engine_where_there_is_no_norm() -> None:
    names = [f"e-{n}" for n in range(10)]
    entries = [entry("test_a", name, KNOWN, f"x: it {('runs', 'hangs')[n % 2]}") for n, name in enumerate(names)]
    assert "expected-fail on e-0, e-2, e-4, e-6, e-8: x: it runs" in shown(ledger(names, entries))
    entries[1:] = [entry("test_a", name) for name in names[1:]]
    assert "pass on 9 others" in shown(ledger(names, entries))


def test_610_requirements_on_14_engines(tmp_path: Path) -> None:
    """Still one page that a browser opens at once: it was 0.83 MB."""
    start = time.monotonic()
    table = matrix.of(ledgers.whole_catalogue())
    matrix_page.write(table, tmp_path)
    took = time.monotonic() - start
    assert len(table.rows) == len(catalogue.load()) >= 600 and len(table.columns) == 14
    assert (tmp_path / "matrix.html").stat().st_size < 1_500_000
    assert took < 20
    console = Console(width=80, file=StringIO())
    matrix_text.show(table, console)
    assert isinstance(console.file, StringIO) and len(console.file.getvalue().splitlines()) < 200
