"""Trends: which earlier runs count, and what is news."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from harness import ledger as ledgers_file
from harness.ledger import Entry, Verdict
from harness.report import markdown, matrix, site
from harness.report.site import history
from harness.report.site.history import News
from harness.tests.ledgers import entry, ledger

GOOD, BAD, KNOWN = Verdict.PASS, (Verdict.FAIL, "no"), (Verdict.EXPECTED_FAIL, "x: y (z; not reported)")


def run(folder: Path, name: str, *entries: Entry, started: str, **header: Any) -> Path:
    """A run in a folder of runs."""
    (folder / name).mkdir(parents=True)
    ledgers_file.settle(ledger(["q"], entries, run=name, started=started, **header), folder / name)
    return folder / name / "ledger.jsonl"


def names(places: history.Places) -> list[str]:
    return [path.parent.name for path in places.paths]


def test_runs_before_this_one_of_the_same_hypervisor(tmp_path: Path) -> None:
    one = entry("test_a", "q")
    run(tmp_path, "b-first", one, started="2026-01-01")
    run(tmp_path, "a-second", one, started="2026-01-02")
    run(tmp_path, "defect", one, started="2026-01-02", defect="vendor-unchecked")
    run(tmp_path, "other", one, started="2026-01-02", hypervisor="theirs")
    own = run(tmp_path, "own", one, started="2026-01-03")
    run(tmp_path, "later", one, started="2026-01-04")
    (tmp_path / "latest").symlink_to("a-second")
    assert names(history.find(ledgers_file.header(own), runs=tmp_path)) == ["b-first", "a-second"]


def test_given_ledgers_count_whenever_they_ran(tmp_path: Path) -> None:
    own = run(tmp_path / "x", "own", started="2026-01-03")
    given = run(tmp_path / "y", "elsewhere", started="2026-01-04")
    found = history.find(ledgers_file.header(own), [given, own], tmp_path / "x")
    assert names(found) == ["elsewhere"]


def test_the_latest_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "RUNS", 2)
    for day in range(1, 5):
        run(tmp_path, f"r{day}", started=f"2026-01-0{day}")
    own = run(tmp_path, "own", started="2026-02-01")
    assert names(history.find(ledgers_file.header(own), runs=tmp_path)) == ["r3", "r4"]


def test_not_more_than_can_be_read_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [run(tmp_path, f"r{day}", entry("test_a", "q"), started=f"2026-01-0{day}") for day in range(1, 4)]
    monkeypatch.setattr(history, "_BYTES", 2 * paths[0].stat().st_size)
    own = run(tmp_path, "own", started="2026-02-01")
    assert names(history.find(ledgers_file.header(own), runs=tmp_path)) == ["r2", "r3"]


def test_what_became_of_each_case(tmp_path: Path) -> None:
    before = [entry("test_breaks", "q"), entry("test_mends", "q", *BAD), entry("test_known", "q", *BAD)]
    before += [entry("test_same", "q", *BAD), entry("test_skipped", "q", Verdict.SKIP, "no SVML")]
    first = run(tmp_path, "first", *before, entry("test_gone", "q"), started="2026-01-01")
    now = [entry("test_breaks", "q", *BAD), entry("test_mends", "q"), entry("test_known", "q", *KNOWN)]
    now += [entry("test_same", "q", *BAD), entry("test_skipped", "q"), entry("test_new", "q")]
    past = history.look_back(ledger(["q"], now, run="own", started="2026-01-02"), history.Places((first,)))
    assert {change.entry.function.rpartition("::")[2]: change.news for change in past.changes} == {
        "test_breaks": News.BROKEN, "test_mends": News.MENDED, "test_known": News.DEVIATES, "test_skipped": News.OTHER,
    }  # fmt: skip
    assert {change.run for change in past.changes} == {"first"}
    assert past.fresh == 1
    assert dict(past.runs[0].total) == {Verdict.PASS: 2, Verdict.FAIL: 3, Verdict.SKIP: 1}


def test_the_last_run_that_has_the_case_counts(tmp_path: Path) -> None:
    one, other = entry("test_a", "q", *BAD), entry("test_b", "q")
    paths = (
        run(tmp_path, "r1", entry("test_a", "q"), entry("test_b", "q"), started="2026-01-01"),
        run(tmp_path, "r2", one, started="2026-01-02"),
        run(tmp_path, "r3", other, started="2026-01-03"),
    )
    past = history.look_back(ledger(["q"], [one, other], run="own"), history.Places(paths))
    assert past.changes == () and past.fresh == 0
    assert [dict(run.news) for run in past.runs] == [{}, {News.BROKEN: 1}, {}, {}]


def test_runs_of_nothing_in_common_are_left_out(tmp_path: Path) -> None:
    stranger = run(tmp_path, "r1", entry("test_a", "bochs"), started="2026-01-01")
    past = history.look_back(ledger(["q"], [entry("test_a", "q")]), history.Places((stranger,)))
    assert len(past.runs) == 1


def test_a_ledger_that_cannot_be_read_is_counted(tmp_path: Path) -> None:
    broken = run(tmp_path, "r1", entry("test_a", "q"), started="2026-01-01")
    broken.write_text(broken.read_text().replace('"verdict":"pass"', '"verdict":"maybe"'))
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "ledger.jsonl").write_text('{"line":"header","version":1}\n')
    made = ledger(["q"], [entry("test_a", "q")], run="own", started="2026-01-02")
    past = history.look_back(made, history.find(made.header, runs=tmp_path))
    assert len(past.runs) == 1 and past.unreadable == 2


def test_the_pages_and_the_summary_tell(tmp_path: Path) -> None:
    first = run(tmp_path, "first", entry("test_a", "q"), entry("test_b", "q", *BAD), started="2026-01-01")
    made = ledger(["q"], [entry("test_a", "q", *BAD), entry("test_b", "q")], run="own", started="2026-01-02")
    past = history.look_back(made, history.Places((first,)))
    site.write(made, tmp_path / "site", past)
    overview = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert "<summary>no longer as it must be: 1</summary>" in overview
    assert re.search(r"was pass in first", overview)
    trends = (tmp_path / "site" / "trends.html").read_text(encoding="utf-8")
    assert "2 runs of svmconf" in trends and "<title>first: 1 fail, 1 pass</title>" in trends
    assert "now holds: 1" in trends
    summary = markdown.summary(made, matrix.of(made), past)
    assert "<summary>no longer as it must be: 1</summary>" in summary
    assert "Claim of test\\_a. on q EPYC: fail, was pass" in summary
