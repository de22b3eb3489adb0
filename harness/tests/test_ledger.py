from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console

from harness import ledger
from harness.boot import Boot
from harness.errors import SvmconfError
from harness.ledger import EngineLine, Entry, Evidence, Header, Line, Plan, Verdict, Writer
from harness.machine.ending import Ending, How
from harness.observation import Observation
from harness.report import terminal, write_all
from harness.tests import ledgers

ENGINE = EngineLine(name="e", version="1", cpus=["EPYC"])
HEADER = Header(run="r", started="2026-01-01T00:00:00Z", command=[], hypervisor="h", engines=[ENGINE])
SEEN = Observation(
    engine="e",
    engine_version="1",
    cpu="EPYC",
    boot=Boot(),
    command=["qemu"],
    image_sha256="0" * 64,
    ended=Ending(how=How.EXITED, code=0x10),
    vmcb=bytes(0x58) + b"\1" + bytes(0x1000 - 0x59),
    console="\x1b[0m <script>alert(1)</script>\n",
)


def entry(case: str, verdict: Verdict, reason: str = "") -> Entry:
    return Entry(
        case=case, function=case.partition("[")[0], claim="It holds.", source="x.py:1", requirements=["SVM-15.4-001"],
        engine="e", engine_version="1", cpu="EPYC", verdict=verdict, reason=reason, started=1.0, seconds=0.5,
        evidence="it",
    )  # fmt: skip


def part(folder: Path, worker: str, *lines: Line) -> Path:
    writer = Writer(folder / f"ledger-{worker}.jsonl")
    for line in (*lines[:1], Evidence(id="it", observation=SEEN), *lines[1:]):
        writer.write(line)
    writer.close()
    return writer.path


def test_parts_are_merged_and_the_sum_closes(tmp_path: Path) -> None:
    plan = Plan(cases=["a", "b", "c"])
    part(tmp_path, "gw0", HEADER, plan, entry("a", Verdict.PASS))
    part(tmp_path, "gw1", HEADER, plan, entry("c", Verdict.FAIL, "because"))
    merged = ledger.merge(tmp_path)
    assert merged is not None
    assert [e.verdict for e in merged.entries] == [Verdict.PASS, Verdict.NOT_RUN, Verdict.FAIL]
    assert merged.arithmetic() == "3 planned = 1 pass + 1 fail + 1 not-run"
    assert not merged.good
    assert [p.name for p in tmp_path.iterdir()] == ["ledger.jsonl"]
    assert ledger.read(tmp_path / "ledger.jsonl") == merged


def test_a_line_that_was_cut_short_loses_nothing_else(tmp_path: Path) -> None:
    path = part(tmp_path, "gw0", HEADER, Plan(cases=["a", "b"]), entry("a", Verdict.PASS), entry("b", Verdict.PASS))
    content = path.read_bytes()
    path.write_bytes(content[: -len(content) // 8])
    found = ledger.read(path)
    assert {e.case: e.verdict for e in found.entries} == {"a": Verdict.PASS, "b": Verdict.NOT_RUN}


@pytest.mark.parametrize("read", [ledger.read, ledger.header, ledger.of])
def test_a_ledger_of_another_format_says_who_can_read_it(tmp_path: Path, read: Callable[[Path], object]) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_text('{"line":"header","version":2,"run":"r","svmconf":"0.0.9","git":"abc"}\n{"line":"unheard-of"}\n')
    with pytest.raises(SvmconfError, match="is a ledger of format 2, this svmconf reads format 3") as raised:
        read(path)
    assert "0.0.9 abc" in raised.value.hint


def test_the_hash_of_what_ran_tells_programs_and_images_apart() -> None:
    def of(**other: object) -> str:
        return Evidence(id="x", observation=SEEN.model_copy(update=other)).program

    assert of() == of(console="else", engine="another")
    assert len({of(), of(image_sha256="1" * 64), of(boot=Boot(guest="hello")), ledgers.program("p", "e").program}) == 4
    assert Evidence(id="nothing").program == ""


def test_nothing_planned_is_no_ledger(tmp_path: Path) -> None:
    assert ledger.merge(tmp_path) is None


def test_garbage_names_its_line(tmp_path: Path) -> None:
    path = part(tmp_path, "gw0", HEADER)
    path.write_bytes(path.read_bytes() + b"{}\n")
    with pytest.raises(SvmconfError, match=r"ledger-gw0\.jsonl:3: no line of a ledger"):
        ledger.read(path)


def test_every_report_is_written_and_bad_text_does_no_harm(tmp_path: Path) -> None:
    verdicts = [entry(f"m.py::case[{v}]", v, "reason \x00 <b>&") for v in Verdict]
    part(tmp_path, "gw0", HEADER, Plan(cases=[e.case for e in verdicts]), *verdicts)
    merged = ledger.merge(tmp_path)
    assert merged is not None
    write_all(merged, tmp_path)
    suite = ElementTree.parse(tmp_path / "junit.xml").getroot()
    assert {k: suite.get(k) for k in ("tests", "failures", "errors", "skipped")} == {
        "tests": "6", "failures": "1", "errors": "2", "skipped": "2"
    }  # fmt: skip
    summary = (tmp_path / "summary.html").read_text()
    assert "<script>" not in summary and "&lt;script&gt;" in summary
    assert merged.arithmetic() in summary
    results = [json.loads(p.read_text()) for p in (tmp_path / "allure-results").glob("*-result.json")]
    assert sorted(r["status"] for r in results) == ["broken", "broken", "failed", "passed", "skipped", "skipped"]
    labels = {label["name"]: label["value"] for label in results[0]["labels"]}
    assert labels["epic"].startswith("15 ") and labels["feature"].startswith("15.4 ")
    assert labels["story"].startswith("SVM-15.4-001 ")
    assert {p["name"]: p["value"] for p in results[0]["parameters"]} == {"engine": "e", "version": "1", "cpu": "EPYC"}
    attached = {a["source"] for r in results for a in r["attachments"]}
    assert all((tmp_path / "allure-results" / name).is_file() for name in attached)


def test_terminal_table(tmp_path: Path) -> None:
    part(tmp_path, "gw0", HEADER, Plan(cases=["a"]), entry("a", Verdict.FAIL, "rAX is odd"))
    merged = ledger.merge(tmp_path)
    assert merged is not None
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    with console.file:
        terminal.show(merged, console)
    text = console.export_text()
    assert "1 fail" in text and "rAX is odd" in text and "1 planned = 1 fail" in text
