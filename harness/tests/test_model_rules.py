"""Every rule of the model from both sides of its boundary, and the change that it offers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given

from harness import model
from harness.model import Effect, Processor, State
from harness.model.guests import Mode
from harness.model.registers import Cr0, Efer
from harness.model.rule import bits_of, value_of
from harness.tests.model_edges import EDGES, HOST, HOSTS, PATIENT, PLAIN_HOST, UNDEFINED, state

RULES = {rule.name: rule for rule in model.rules()}
every_rule = pytest.mark.parametrize("name", RULES)


def test_every_rule_has_an_edge() -> None:
    assert list(EDGES) == list(RULES)


@every_rule
def test_bad_side(name: str) -> None:
    edge, rule = EDGES[name], RULES[name]

    @PATIENT
    @given(edge.bad)
    def check(bad: State) -> None:
        found = rule(bad)
        assert found and {one.requirements for one in found} == {rule.requirements}
        verdict = model.judge(bad)
        assert set(found) & set(verdict.violations) or bad["vmcb_clean"]
        assert {one.effect for one in found} == {Effect(edge.outcome.value)}
        for one in found:
            assert (one.why and one.says and one.section[0].isdigit()) or one.section == "B"

    check()


@every_rule
def test_good_side(name: str) -> None:
    rule = RULES[name]

    @PATIENT
    @given(EDGES[name].good)
    def check(good: State) -> None:
        assert rule(good) == ()

    check()


@every_rule
def test_the_change_mends_it_and_is_the_smallest(name: str) -> None:
    rule = RULES[name]

    @PATIENT
    @given(EDGES[name].bad)
    def check(bad: State) -> None:
        for one in rule(bad):
            if one.change is None:
                continue
            mended = one.change.apply(bad)
            assert one.field not in {other.field for other in rule(mended)}
            assert one.change.bits == (value_of(mended, one.field) ^ value_of(bad, one.field)).bit_count()
            for bit in (1 << n for n in range(64) if one.change.mask >> n & 1):
                almost = mended.with_field(one.field, value_of(mended, one.field) ^ bit)
                wrong = {other.field for other in model.judge(almost).violations}
                assert one.field in wrong, f"without {bits_of(one.field, bit)} it is legal already"

    check()


WITHOUT_CHANGE = {"svm_absent", "pdpte_reserved", "unused_bytes", "no_host_save_area"}


@every_rule
def test_a_change_is_offered_where_one_can_be_computed(name: str) -> None:
    rule = RULES[name]

    @PATIENT
    @given(EDGES[name].bad)
    def check(bad: State) -> None:
        for one in rule(bad):
            virtual = name == "rax_beyond" and one.value >> 47 == 0x1FFFF
            assert (one.change is None) is (virtual or name in WITHOUT_CHANGE)

    check()


@pytest.mark.parametrize("host", HOSTS.values(), ids=HOSTS)
@pytest.mark.parametrize("nested", [False, True], ids=["", "nested"])
@pytest.mark.parametrize("mode", Mode, ids=lambda mode: mode.value)
def test_legal_guests_run(mode: Mode, nested: bool, host: Processor) -> None:
    verdict = model.judge(state(mode, nested, host))
    if nested and host is PLAIN_HOST:
        assert [one.requirement for one in verdict.violations] == ["SVM-15.25.3-004"]
    else:
        assert verdict == model.Verdict() and verdict.sure


def test_outside_long_mode_the_high_half_of_cr3_is_left_open() -> None:
    verdict = model.judge(state(Mode.PAE, cr3=1 << 32))
    assert (verdict.outcome, verdict.because[0].requirement) == (UNDEFINED, "SVM-15.5.1-C-005")
    host = replace(HOST, efer=int(Efer.SVME), cr0=Cr0.PE | Cr0.PG)
    verdict = model.judge(state(Mode.REAL, True, host, n_cr3=1 << 40))
    assert (verdict.outcome, verdict.because[0].requirement) == (UNDEFINED, "SVM-15.25.4-001")
