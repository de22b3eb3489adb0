"""Evidence on the site: how much of it, which of it, and the VMCB viewer's data."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import paths
from harness.boot import Insn
from harness.ledger import Entry, Evidence, Ledger, Verdict
from harness.machine.vmcb import FIELDS
from harness.report import site
from harness.report.site import exhibits, viewer
from harness.report.site.exhibits import Exhibits
from harness.report.site.words import BITS, EXIT_CODES
from harness.tests import ledgers, sites
from harness.tests.ledgers import entry
from harness.tests.sites import AFTER, BEFORE, NEW, OLD


def chosen(made: Ledger) -> Exhibits:
    found = Exhibits(made)
    found.choose(made.entries)
    return found


def boots(*verdicts: Verdict) -> Ledger:
    entries = [entry(f"test_{n}", "q", verdict, evidence=f"e{n}") for n, verdict in enumerate(verdicts)]
    return ledgers.ledger(["q"], entries, [ledgers.boot(f"e{n}", "q") for n in range(len(verdicts))])


def test_bad_news_come_first_when_there_are_more_boots_than_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exhibits, "PAGES", 2)
    made = boots(Verdict.PASS, Verdict.PASS, Verdict.FAIL, Verdict.EXPECTED_FAIL)
    found = chosen(made)
    assert [boot.page for boot in found.boots] == ["e2", "e3"]
    without = found.of(made.entries[0])
    assert without is not None and without.summary.startswith("exited(0x10)") and not without.page


def test_a_boot_that_many_cases_judge_has_one_page() -> None:
    entries = [entry(f"test_{n}", "q", evidence="e") for n in range(5)]
    found = chosen(ledgers.ledger(["q"], entries, [ledgers.boot("e", "q")]))
    assert [boot.page for boot in found.boots] == ["e"]


def test_pages_have_names_of_their_own() -> None:
    entries = [entry("test_a", "q", evidence="a b"), entry("test_b", "q", evidence="a_b")]
    found = chosen(ledgers.ledger(["q"], entries, [ledgers.boot("a b", "q"), ledgers.boot("a_b", "q")]))
    assert sorted(boot.page for boot in found.boots) == ["a_b", "a_b_"]


def test_long_texts_are_cut_and_say_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(exhibits, "LONGEST", 100)
    made = ledgers.ledger(["q"], [entry("t", "q", evidence="e")], [ledgers.boot("e", "q", console="x" * 150)])
    console = next(text for text in chosen(made).boots[0].texts if text.name == "console")
    assert len(console.text) == 100 and console.left_out == 50
    site.write(made, tmp_path)
    assert "50 more characters are in the ledger" in (tmp_path / "x" / "e.html").read_text()


def test_entries_without_evidence_have_no_exhibit() -> None:
    made = ledgers.ledger(["q"], [entry("a", "q"), entry("b", "q", evidence="not there")])
    found = chosen(made)
    assert [found.of(one) for one in made.entries] == [None, None]


def test_evidence_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Kept(dict[str, Evidence]):
        def get(self, key: str, default: object = None) -> Evidence:
            asked.append(key)
            return self[key]

    entries: list[Entry] = [entry(f"test_{n}", "q", evidence="e") for n in range(5)]
    made = ledgers.ledger(["q"], entries)
    chosen(made.model_copy(update={"evidence": Kept(e=ledgers.boot("e", "q"))}))
    assert asked == ["e"]


# VMCBs


def test_dumps_before_and_after_vmrun() -> None:
    found = {boot.page: boot.dumps for boot in chosen(sites.everything()).boots}
    first, second = found["boot-old"]
    assert (first.before, first.after) == (BEFORE, AFTER)
    assert first.label == "VMRUN 1 at run+0x3, #VMEXIT 0x81"
    assert second.after is None and second.label.endswith("did not come back")
    assert len(found["boot-new"]) == 1


def test_of_many_vmruns_the_first_ones_and_the_last() -> None:
    trace = [ledgers.event(Insn.VMRUN, f"at-{n}", before={"rax": 0x2000}, vmcb=BEFORE) for n in range(9)]
    made = ledgers.ledger(["q"], [entry("t", "q", evidence="e")], [ledgers.boot("e", "q", trace=trace)])
    labels = [dump.label.partition(" at ")[0] for dump in chosen(made).boots[0].dumps]
    assert labels == ["VMRUN 1", "VMRUN 2", "VMRUN 3", "VMRUN 9"]


@given(st.lists(st.tuples(st.integers(0, 4095), st.integers(1, 255)), max_size=30))
def test_pieces_put_together_are_the_page(changes: list[tuple[int, int]]) -> None:
    page = bytearray(4096)
    for place, value in changes:
        page[place] = value
    again = bytearray(4096)
    for start, digits in viewer._pieces(bytes(page)):
        again[start : start + len(digits) // 2] = bytes.fromhex(digits)
    assert again == page


def test_a_boot_s_script_hands_over_its_dumps(tmp_path: Path) -> None:
    site.write(sites.everything(), tmp_path)
    call = re.fullmatch(r"svmconf\.dumps\((\".*?\"), (.*)\);\n", (tmp_path / "vmcb" / "boot-old.js").read_text())
    assert call is not None and json.loads(call[1]) == "boot-old"
    dumps = json.loads(call[2])
    assert [dump["after"] is None for dump in dumps] == [False, True]
    shown = (tmp_path / "vmcb.html").read_text(encoding="utf-8")
    assert f'<optgroup label="{OLD}"><option value="boot-old">EPYC, guest hello, SVMDIS: injected' in shown
    assert f'<optgroup label="{NEW}"><option value="boot-new">EPYC, guest hello, SVMDIS: real' in shown


def test_every_field_is_in_the_viewer_s_table_in_order() -> None:
    fields = viewer.tables()["fields"]
    assert {name: (offset, size) for name, offset, size in fields} == {n: (f.offset, f.size) for n, f in FIELDS.items()}
    assert [offset for _, offset, _ in fields] == sorted(offset for _, offset, _ in fields)


# Names


def test_names_of_exit_codes_are_those_of_the_hypervisor() -> None:
    text = (paths.HYPERVISOR / "svm" / "src" / "exit" / "code.rs").read_text()
    table = text[text.rindex("\ncodes! {") : text.rindex("impl ExitCode {")]
    pairs = re.findall(r"(0x[0-9a-f_]+)\s+([A-Z][A-Z0-9_]+)", table)
    assert {int(code.replace("_", ""), 16): name for code, name in pairs} == EXIT_CODES


def test_names_of_bits_fit_into_their_fields() -> None:
    assert set(BITS) <= set(FIELDS)
    for name, bits in BITS.items():
        assert all(0 <= bit < 8 * FIELDS[name].size for bit in bits), name


def test_names_of_intercepts_are_those_of_their_exit_codes() -> None:
    assert BITS["intercept_misc2"][0] == "VMRUN" and BITS["intercept_misc1"][18] == "CPUID"
    assert BITS["intercept_exceptions"][14] == "EXCP_PF" and BITS["intercept_cr_write"][4] == "CR4_WRITE"
