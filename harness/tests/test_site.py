"""The site: its pages say what the ledger says, lead nowhere dead, and are the same when they are made again."""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from harness import ledger as ledger_file
from harness.ledger import Entry, Ledger, Verdict
from harness.report import site
from harness.spec import catalogue, coverage
from harness.tests import ledgers, sites
from harness.tests.sites import HYPERVISOR, NASTY, NEW, OLD, OTHER, PLATFORM, XEN


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    site.write(sites.everything(), folder / "site")
    return folder / "site"


class Links(HTMLParser):
    """Where a page leads, and the ids that it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: Counter[str] = Counter()
        self.scripts = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.links += [value for name in ("href", "src") if (value := found.get(name))]
        self.ids.update([value] if (value := found.get("id")) else [])
        self.scripts += tag == "script"


def pages(folder: Path) -> Iterator[tuple[Path, Links]]:
    for path in sorted(folder.rglob("*.html")):
        yield path, Links(path.read_text(encoding="utf-8"))


def text(path: Path) -> str:
    """A page as a person reads it, on one line."""
    words = re.sub(r"<(script|style|title).*?</\1>", " ", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", words)).split())


def test_no_link_is_dead_and_no_id_stands_twice(made: Path) -> None:
    found = dict(pages(made))
    assert len(found) > len(catalogue.load())
    for path, page in found.items():
        assert [name for name, count in page.ids.items() if count > 1] == [], path
        for link in page.links:
            if link.startswith("https://"):
                continue
            place, _, fragment = unquote(link).partition("#")
            target = (path.parent / place).resolve() if place else path
            assert target.is_file() and target.is_relative_to(made), f"{path.name}: {link}"
            if fragment and "=" not in fragment:
                assert fragment in found[target].ids, f"{path.name}: {link}"


def test_pages_need_nothing_from_elsewhere(made: Path) -> None:
    for path in made.rglob("*"):
        if path.suffix in (".html", ".css", ".js"):
            content = path.read_text(encoding="utf-8")
            assert not re.search(
                r"""(src=["']?|@import|url\(|fetch\(|XMLHttpRequest)\s*["']?https?:|\bfetch\(""", content
            )


def test_made_twice_it_is_the_same(tmp_path: Path, made: Path) -> None:
    ledger_file.settle(sites.everything(), tmp_path)
    site.write(ledger_file.read(tmp_path / "ledger.jsonl"), tmp_path / "again")
    files = {path.relative_to(made) for path in made.rglob("*") if path.is_file()}
    assert files == {p.relative_to(tmp_path / "again") for p in (tmp_path / "again").rglob("*") if p.is_file()}
    assert [name for name in files if (made / name).read_bytes() != (tmp_path / "again" / name).read_bytes()] == []


def test_what_was_there_before_is_gone(tmp_path: Path) -> None:
    (tmp_path / "site" / "r").mkdir(parents=True)
    (tmp_path / "site" / "r" / "SVM-0.html").write_text("old")
    site.write(sites.everything(), tmp_path / "site")
    assert not (tmp_path / "site" / "r" / "SVM-0.html").exists()


def test_text_from_a_ledger_is_never_markup(made: Path) -> None:
    plain = Links((made / "r" / f"{HYPERVISOR}.html").read_text()).scripts
    for path, page in pages(made):
        assert "<script>alert" not in path.read_text(encoding="utf-8"), path
        if path.parent.name == "r":
            assert page.scripts == plain, path
    shown = (made / "r" / f"{PLATFORM}.html").read_text(encoding="utf-8")
    assert NASTY in html.unescape(shown)


def test_a_requirement_says_all_that_is_known_of_it(made: Path) -> None:
    for id, it in catalogue.load().items():
        shown = text(made / "r" / f"{id}.html")
        for said in (it.statement, it.observable, it.heading, it.priority, it.kind, it.status, it.feature_gate.names):
            assert " ".join(said.split()) in shown, id


def test_observations_of_each_engine(made: Path) -> None:
    shown = text(made / "r" / f"{PLATFORM}.html")
    assert f"{OLD} ◆ odd 5.2.0 (Debian) ✗ 1 fail vector 6" in shown
    assert f"{NEW} 10.0.13 (Debian) ✓ 1 pass" in shown
    assert re.search(rf"{re.escape(XEN)} 4\.17\.5 ✓ 1 pass EPYC answered by Xen, TCG", shown)
    assert "bochs-3.0 not here: engine bochs-3.0 is not fetched" in shown


def test_the_odd_one_out_is_marked(made: Path) -> None:
    shown = text(made / "r" / f"{PLATFORM}.html")
    assert f"{OLD} ◆ odd" in shown and f"{NEW} ◆ odd" not in shown


def test_whether_a_fault_was_real_or_injected(made: Path) -> None:
    shown = text(made / "r" / f"{HYPERVISOR}.html")
    assert re.search(rf"{OLD}.*?SVMDIS: injected.*?{NEW}.*?SVMDIS: real", shown)


def test_a_case_links_to_its_source_and_says_how_to_repeat_it(made: Path) -> None:
    shown = (made / "r" / f"{PLATFORM}.html").read_text(encoding="utf-8")
    link = re.search(r'href="\.\./(src/[^"#]+)#(L\d+)"', shown)
    assert link is not None
    line = re.search(rf'id="{link[2]}".*?</a>(.*)', (made / link[1]).read_text(encoding="utf-8"))
    assert line is not None and line[1].lstrip().startswith(("@", "def "))
    assert f"svmconf run --engine {NEW} --cpu EPYC -k test_cpl" in text(made / "r" / f"{PLATFORM}.html")


def test_a_known_deviation_stands_with_its_link_and_where_it_was_seen(made: Path) -> None:
    deviation = sites.known()
    path = made / "r" / f"{deviation.requirement}.html"
    assert f'href="{deviation.upstream.partition(" ")[0]}"' in html.unescape(path.read_text(encoding="utf-8"))
    shown = text(path)
    assert deviation.cause in shown and f"seen here {OLD}" in shown
    assert "a known deviation did not show" in shown


def test_evidence_that_engines_share_is_shown_once(tmp_path: Path) -> None:
    programs = [ledgers.program(f"on-{name}", name, ledgers.step(6)) for name in ("a", "b", "c")]
    entries = [
        ledgers.entry("test_x", name, evidence=f"on-{name}", requirements=[PLATFORM]) for name in ("a", "b", "c")
    ]
    site.write(ledgers.ledger(["a", "b", "c"], entries, programs), tmp_path / "site")
    shown = text(tmp_path / "site" / "r" / f"{PLATFORM}.html")
    assert shown.count("step 0:") == 1 and "test_x on a, b, c" in shown


def test_the_overview_has_the_sum_the_engines_and_what_is_wrong(made: Path) -> None:
    shown = text(made / "index.html")
    assert sites.everything().arithmetic() in shown
    assert "not here: engine bochs-3.0 is not fetched" in shown
    assert re.search(rf"Not as it must be .*{HYPERVISOR}.*{XEN.replace('+', '.')}: not-run", shown)
    total = coverage.tally(catalogue.load().values(), "all")
    assert f"{total.covered}/{total.testable}" in shown
    assert "No earlier run of svmconf was found" in shown


def test_the_tree_has_every_requirement_once(made: Path) -> None:
    shown = (made / "manual.html").read_text(encoding="utf-8")
    found = re.findall(r'href="r/(SVM-[^"]+)\.html"', shown)
    assert sorted(found) == sorted(catalogue.load())
    for tally in coverage.by_section(catalogue.load().values()):
        assert re.search(rf'id="s{re.escape(tally.name)}".*?>{tally.covered}/{tally.testable}[ <]', shown, re.DOTALL)


def test_the_matrix_has_every_requirement_and_leads_to_its_page(made: Path) -> None:
    shown = (made / "matrix.html").read_text(encoding="utf-8")
    assert set(re.findall(r'href="r/(SVM-[^"]+)\.html"', shown)) == set(catalogue.load())
    lines = (made / "matrix.csv").read_text().splitlines()
    assert len(lines) == 1 + len(catalogue.load())
    assert lines[0].startswith("requirement,section,title,kind,priority,status,differs,qemu-5.2,qemu-10.0,")
    row = next(line for line in lines if line.startswith(f"{PLATFORM},"))
    assert ",yes,fail,pass,pass,,VMRUN at CPL" in row


def test_engines_whose_names_make_the_same_file_name_have_pages_of_their_own(tmp_path: Path) -> None:
    made = ledgers.ledger(["q@1", "q_1"], [ledgers.entry("t", name) for name in ("q@1", "q_1")])
    site.write(made, tmp_path / "site")
    assert sorted(path.name for path in (tmp_path / "site" / "e").glob("*.html")) == ["q_1.html", "q_1_.html"]


def test_a_ledger_without_entries(tmp_path: Path) -> None:
    site.write(ledgers.ledger(["q"], []), tmp_path / "site")
    assert "0 planned = nothing" in text(tmp_path / "site" / "index.html")
    assert "No boot of this run has a VMCB" in text(tmp_path / "site" / "vmcb.html")


def lost(made: Ledger) -> list[Entry]:
    return [entry for entry in made.entries if entry.lost]


def test_cases_that_were_lost_do_no_harm(tmp_path: Path) -> None:
    case = "conformance/x/test_x.py::test_gone[q:EPYC]"
    made = ledgers.ledger(["q"], [ledgers.entry("t", "q")], lost=[case])
    ledger_file.settle(made, tmp_path)
    found = ledger_file.read(tmp_path / "ledger.jsonl")
    assert len(lost(found)) == 1
    site.write(found, tmp_path / "site")
    assert "1 not-run" in text(tmp_path / "site" / "e" / "q.html")


def test_skips_show_their_reason_on_the_engine_s_page(made: Path) -> None:
    shown = text(made / "e" / f"{OLD}.html")
    assert "– 1 skip CPUID LbrVirt is 0" in shown
    assert "! 1 error EngineError: it crashed" in text(made / "e" / f"{NEW}.html")
    assert Verdict.SKIP in text(made / "r" / f"{OTHER}.html")
