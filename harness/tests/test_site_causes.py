"""An engine's page: its deviations by cause, and what its maintainers get to read."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest

from harness.ledger import Entry, Ledger, Verdict
from harness.report import matrix, site
from harness.report.site.causes import Cause, causes, markdown, others
from harness.report.site.exhibits import Exhibits
from harness.report.site.sheets import Sheet, sheets
from harness.spec import claims, expectations
from harness.spec.expectations import Deviation
from harness.tests import ledgers, sites
from harness.tests.ledgers import entry
from harness.tests.sites import HYPERVISOR, NASTY, NEW, OLD, PLATFORM


def of(made: Ledger, name: str, *, hypervisor: bool = False) -> tuple[list[Cause], matrix.Column, list[Sheet]]:
    shown = matrix.of(made, uncovered=True)
    column = next(column for column in shown.columns if column.name == name)
    found = sheets(shown)
    return causes(column, found, hypervisor=hypervisor), column, found


def with_cause(count: int) -> list[Deviation]:
    """Deviations of ours with the same cause."""
    every = expectations.every()["qemu"]
    return next(
        same for one in every if len(same := [two for two in every if two.cause == one.cause]) >= count
    )  # fmt: skip


def deviating(deviation: Deviation) -> Entry:
    known = Verdict.EXPECTED_FAIL, str(deviation)
    return entry(deviation.case, OLD, *known, requirements=[deviation.requirement], variant=deviation.requirement)


def test_deviations_with_one_cause_stand_together() -> None:
    same = with_cause(2)
    found, _, _ = of(ledgers.ledger([OLD], map(deviating, same)), OLD)
    assert [cause.title for cause in found] == [same[0].cause]
    assert {finding.requirement.id for finding in found[0].findings} == {one.requirement for one in same}
    assert {finding.observed for finding in found[0].findings} == {one.observed for one in same}


def test_what_is_not_known_comes_first() -> None:
    found, _, _ = of(sites.everything(), OLD)
    assert [(cause.known, cause.title) for cause in found] == [
        (False, f"Does not hold: {claims.suite()[0].claim}"),
        (True, sites.known().cause),
    ]
    assert found[1].link == sites.known().upstream.partition(" ")[0]


def test_a_deviation_that_did_not_show_is_none() -> None:
    found, column, _ = of(sites.everything(), NEW)
    assert found == []
    told = others(sites.everything().entries)[column.name]
    assert [(verdict, count) for verdict, _, count in told] == [(Verdict.FAIL, 1), (Verdict.ERROR, 1)]
    assert told[0][1].startswith(expectations.MENDED)


def test_what_the_software_does_is_not_the_engine_s_deviation() -> None:
    made = ledgers.ledger([OLD], [entry("t", OLD, Verdict.FAIL, "no", requirements=[HYPERVISOR])])
    assert of(made, OLD)[0] == []
    assert [cause.title for cause in of(made, OLD, hypervisor=True)[0]] == ["Does not hold: Claim of t."]


def test_a_case_of_several_requirements_deviates_in_the_one_that_is_filed() -> None:
    deviation = sites.known()
    made = deviating(deviation).model_copy(update={"requirements": [PLATFORM, deviation.requirement]})
    found, _, _ = of(ledgers.ledger([OLD], [made]), OLD)
    assert [f.requirement.id for cause in found for f in cause.findings] == [deviation.requirement]


def test_an_expectation_that_is_gone_speaks_through_the_ledger() -> None:
    reason = f"{PLATFORM}: #UD instead of #GP(0) (helper() in x.c; not reported)"
    made = ledgers.ledger([OLD], [entry("t", OLD, Verdict.EXPECTED_FAIL, reason, requirements=[PLATFORM])])
    (cause,), _, _ = of(made, OLD)
    assert cause.known and "helper() in x.c" in cause.title
    assert cause.findings[0].observed.startswith("#UD instead of #GP(0)"[:14])


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    site.write(sites.everything(), folder)
    return folder / "e" / f"{OLD}.html"


def test_the_report_for_maintainers_has_rule_observation_command_and_evidence(page: Path) -> None:
    made = sites.everything()
    found, column, shown = of(made, OLD)
    exhibits = Exhibits(made)
    exhibits.choose(entry for sheet in shown for entry in sheet.samples)
    text = markdown(found[0], column, made.header, exhibits)
    assert "## Does not hold: " in text and "- **Seen instead**: vector 6" in text
    assert re.search(r"\*\*Rule\*\* \(AMD64 APM vol\. 2 rev\. \S+, section 15\.5\.1\): VMRUN at CPL", text)
    assert f"`svmconf run --engine {OLD} --cpu EPYC -k test_cpl`" in text
    assert NASTY in text  # as it was said
    assert "step 1:" in text and "vector 6" in text
    assert "Found by svmconf" in text and "run r." in text


def test_it_is_on_the_page_to_copy_and_in_a_file(page: Path) -> None:
    shown = page.read_text(encoding="utf-8")
    texts = [html.unescape(one) for one in re.findall(r'<pre id="markdown\d+">(.*?)</pre>', shown, re.DOTALL)]
    assert len(texts) == 2 and shown.count('data-copy="markdown') == 2
    everything = page.with_suffix(".md").read_text(encoding="utf-8")
    assert all(text in everything for text in texts)


def test_a_case_that_breaks_several_rules_is_one_story() -> None:
    rules = [PLATFORM, sites.OTHER]
    differs = "{'a': 1} != {'a': 2}"
    said = f"assert {{'a': 1}} == {{'a': 2}}\n  Omitting 4 identical items\n  {differs}\n  Use -v to get more diff"
    made = ledgers.ledger([OLD], [entry("t", OLD, Verdict.FAIL, said, requirements=rules)])
    (cause,), column, _ = of(made, OLD)
    assert [[finding.requirement.id for finding in group] for group in cause.groups] == [rules]
    text = markdown(cause, column, made.header, Exhibits(made))
    assert f"### {PLATFORM}, {sites.OTHER}" in text and text.count("- **Rule**") == 2
    assert text.count(f"- **Seen instead**: {differs}") == 1
    assert "Use -v" not in text and "Omitting" not in text


def test_fences_are_longer_than_any_in_the_evidence() -> None:
    made = ledgers.ledger([OLD], [entry("t", OLD, Verdict.FAIL, "a\n````\nb", requirements=[PLATFORM])])
    found, column, _ = of(made, OLD)
    text = markdown(found[0], column, made.header, Exhibits(made))
    assert "\n`````\na\n````\nb\n`````\n" in text
