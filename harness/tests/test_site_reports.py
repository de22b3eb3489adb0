"""svmconf report with its smaller reports: Markdown, badge, CSV; and how large a ledger it takes."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from harness import ledger as ledger_file
from harness import paths
from harness.commands.report import command
from harness.ledger import Entry, Ledger, Line, Plan, Verdict
from harness.report import badge, html, markdown, matrix, table
from harness.report.site.history import look_back
from harness.tests import ledgers, sites
from harness.tests.ledgers import entry, ledger
from harness.tests.sites import NEW, OLD, PLATFORM


def run(folder: Path, made: Ledger) -> Path:
    folder.mkdir(parents=True)
    ledger_file.settle(made, folder)
    return folder


def report(*arguments: object) -> Result:
    return CliRunner().invoke(command, [*map(str, arguments), "--no-allure"], env={"COLUMNS": "150"})


# The command


def test_of_several_ledgers_the_latest_is_reported(tmp_path: Path) -> None:
    now = run(
        tmp_path / "a", ledger(["q"], [entry("test_a", "q", Verdict.FAIL, "no")], run="now", started="2026-02-01")
    )
    before = run(tmp_path / "x" / "b", ledger(["q"], [entry("test_a", "q")], run="before", started="2026-01-01"))
    done = report(now, before / "ledger.jsonl")
    assert done.exit_code == 1, done.output
    assert not (before / "site").exists()
    assert "was pass in before" in (now / "site" / "index.html").read_text(encoding="utf-8")
    assert "no longer as it must be: 1" in (now / "summary.md").read_text(encoding="utf-8")
    names = {path.name for path in now.iterdir()}
    assert names == {"ledger.jsonl", "junit.xml", "summary.html", "summary.md", "badge.svg", "counts.json", "site"}
    assert (tmp_path / "latest").readlink() == Path("a")


def test_the_same_reports_again_are_the_same_bytes(tmp_path: Path) -> None:
    folder = run(tmp_path / "a", sites.everything())

    def files() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}

    report(folder)
    first = files()
    report(folder)
    assert files() == first and len(first) > 600


def test_reports_elsewhere_have_the_ledger_with_them(tmp_path: Path) -> None:
    folder = run(tmp_path / "a", ledger(["q"], [entry("test_a", "q")]))
    done = report(folder, "--to", tmp_path / "public")
    assert done.exit_code == 0, done.output
    assert [path.name for path in folder.iterdir()] == ["ledger.jsonl"]
    assert (tmp_path / "public" / "ledger.jsonl").read_bytes() == (folder / "ledger.jsonl").read_bytes()
    assert (tmp_path / "public" / "site" / "index.html").is_file()
    assert not (tmp_path / "latest").exists()


def test_a_run_that_was_killed_is_put_together(tmp_path: Path) -> None:
    made = ledger(["q"], [entry("test_a", "q")])
    writer = ledger_file.Writer(tmp_path / "ledger-gw0.jsonl")
    lines: list[Line] = [made.header, Plan(cases=[*made.planned, "conformance/x/test_x.py::test_b[q:EPYC]"])]
    for line in (*lines, *made.entries):
        writer.write(line)
    writer.close()
    done = report(tmp_path)
    assert done.exit_code == 1 and "2 planned = 1 pass + 1 not-run" in done.output
    assert (tmp_path / "ledger.jsonl").is_file() and (tmp_path / "site" / "index.html").is_file()


@pytest.mark.parametrize(
    ("name", "says"),
    [("empty", "holds no ledger"), ("some.jsonl", "is not called ledger.jsonl"), ("", "has no header")],
)
def test_mistakes(tmp_path: Path, name: str, says: str) -> None:
    (tmp_path / "empty").mkdir()
    for file in ("some.jsonl", "ledger.jsonl"):
        (tmp_path / file).write_text("nothing\n")
    done = report(tmp_path / name)
    assert done.exit_code == 1 and says in str(done.exception)


# Markdown


def summary(made: Ledger) -> str:
    return markdown.summary(made, matrix.of(made), look_back(made))


def test_the_summary_has_the_sum_the_engines_and_what_is_wrong() -> None:
    text = summary(sites.everything())
    assert text.startswith("## svmconf on 3 engines: not as it must be\n\n**11 planned = 5 pass + 2 fail")
    assert "| qemu-10.0 | 3 |  |  |  | 1 | 1 | 10.0.13 (Debian) |" in text
    assert "| bochs-3.0 |" in text and "not here: engine bochs-3.0 is not fetched" in text
    assert re.search(rf"^- ✗ {PLATFORM} .* on {OLD} EPYC: fail: vector 6$", text, re.MULTILINE)
    assert f"`svmconf run --engine {OLD} --cpu EPYC -k test_cpl`" in text
    assert "What is new" not in text


def test_the_columns_of_the_table_fit() -> None:
    table_lines = [line for line in summary(sites.everything()).splitlines() if line.startswith("|")]
    assert len(table_lines) == 6 and len({line.count("|") for line in table_lines}) == 1


def test_a_ledger_s_text_is_not_markdown() -> None:
    nasty = "a | b <img src=x> `c` *d* [e](f)\nsecond line"
    text = summary(ledger(["q"], [entry("t", "q", Verdict.FAIL, nasty)]))
    assert r"a \| b \<img src=x\> \`c\` \*d\* \[e\](f)" in text and "second line" not in text


def test_it_fits_into_a_comment() -> None:
    entries = [entry(f"test_{n}", f"q{n}", Verdict.FAIL, "x" * 5000) for n in range(600)]
    text = summary(ledger([f"q{n}" for n in range(600)], entries))
    assert len(text) < 65_000


def test_cases_of_many_settings_are_told_once() -> None:
    entries = [entry("t", "q", Verdict.FAIL, "no", cpu=f"model{n}") for n in range(30)]
    text = summary(ledger(["q"], entries))
    assert text.count("- ✗") == 1 and "model0 and 29 more settings" in text


# Badge and table


@pytest.mark.parametrize(
    ("verdicts", "words"),
    [
        ([Verdict.PASS, Verdict.PASS, Verdict.SKIP], "2 pass"),
        ([Verdict.PASS, Verdict.EXPECTED_FAIL], "1 pass, 1 known deviation"),
        ([Verdict.PASS, Verdict.FAIL, Verdict.NOT_RUN], "2 not as they must be"),
        ([Verdict.ERROR], "1 not as it must be"),
    ],
)
def test_the_badge_counts_no_deviation_as_a_pass(verdicts: list[Verdict], words: str, tmp_path: Path) -> None:
    made = ledger(["q"], [entry(f"test_{n}", "q", verdict) for n, verdict in enumerate(verdicts)])
    badge.write(made, tmp_path / "badge.svg")
    picture = ElementTree.parse(tmp_path / "badge.svg").getroot()
    assert picture.get("aria-label") == f"svmconf: {words}"
    assert [text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")] == ["svmconf", words]


def test_the_table_says_the_worst_of_each_cell(tmp_path: Path) -> None:
    table.write(matrix.of(sites.everything()), tmp_path / "matrix.csv")
    with (tmp_path / "matrix.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["requirement"]: row for row in csv.DictReader(file)}
    assert rows[PLATFORM][OLD] == "fail" and rows[PLATFORM][NEW] == "pass" and rows[PLATFORM]["bochs-3.0"] == ""
    assert rows[sites.OTHER][NEW] == "error" and rows[sites.OTHER]["differs"] in ("yes", "no")
    assert rows[PLATFORM]["priority"] == "must"


# Volume


def test_the_summary_page_of_a_large_ledger_shows_evidence_of_bad_news_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(html, "_LARGE", 1)
    entries = [entry("test_good", "q", evidence="good"), entry("test_bad", "q", Verdict.FAIL, "no", evidence="bad")]
    boots = [ledgers.boot(name, "q", console=f"console of {name}") for name in ("bad", "good")]
    html.write(ledger(["q"], entries, boots), tmp_path / "summary.html")
    shown = (tmp_path / "summary.html").read_text()
    assert "console of bad" in shown and "console of good" not in shown


_MEASURED = """
import json, resource, sys, time
from pathlib import Path
from harness.commands.report import command
began = time.perf_counter()
try:
    command([sys.argv[1], "--no-allure"])
except SystemExit:
    pass
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
print(json.dumps({"seconds": time.process_time(), "wall": time.perf_counter() - began, "mib": peak}))
"""


@pytest.mark.slow
def test_a_hundred_thousand_entries(tmp_path: Path) -> None:
    """All reports but Allure's in less than 30 s (of this process' own time) and 1 GB."""
    large(tmp_path / "run", 100_000)
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, tmp_path / "run"], capture_output=True, text=True, cwd=paths.ROOT, timeout=300
    )
    measured = json.loads(done.stdout.splitlines()[-1])
    assert (tmp_path / "run" / "site" / "matrix.html").is_file()
    assert measured["seconds"] < 30 and measured["mib"] < 1000, measured


def large(folder: Path, count: int) -> None:
    """The ledger of a run on every requirement, fourteen engines and many CPU models, each with evidence of its own."""
    folder.mkdir()
    pattern = ledgers.whole_catalogue()
    models = -(-count // (len(pattern.entries) // 2))
    base = [one for one in pattern.entries if one.cpu == "EPYC"]
    program = ledgers.program("@", "q", *[ledgers.step(6)] * 6).model_dump_json()
    boot = ledgers.boot("@", "q", trace=sites.everything().evidence["boot-old"].observation.trace).model_dump_json()  # type: ignore[union-attr]
    written = 0
    with (folder / "ledger.jsonl").open("w") as file:
        file.write(pattern.header.model_dump_json() + "\n")
        for place, one in enumerate(base):
            text = (boot if place % 20 == 0 else program).replace('"id":"@"', '"id":"%s"', 1)
            for number in range(models if written < count else 0):
                made = _moved(one, f"model{number}", f"e{place}-{number}")
                file.write(text.replace("%s", made.evidence, 1) + "\n" + made.model_dump_json() + "\n")
                written += 1
    assert written >= count


def _moved(one: Entry, cpu: str, evidence: str) -> Entry:
    case = one.case.replace("EPYC", cpu)
    return one.model_copy(update={"cpu": cpu, "case": case, "evidence": evidence})
