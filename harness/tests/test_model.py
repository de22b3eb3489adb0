"""The model as a whole: verdicts, what is not known, what is ignored, and that it knows the catalogue."""

from __future__ import annotations

import doctest
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import model
from harness.errors import SvmconfError
from harness.machine.vmcb import FIELDS, Vmcb
from harness.model import (
    Change,
    Effect,
    Outcome,
    Rule,
    State,
    Unknown,
    citing,
    cpuid,
    exits,
    guests,
    intercepts,
    left_out,
)
from harness.model import verdict as verdicts
from harness.model.cpuid import LEAST, NP, SVM, VNMI, Cpuid
from harness.model.guests import Mode
from harness.model.registers import Cr0, Cr4, Efer, Nested
from harness.model.state import with_field
from harness.spec import catalogue
from harness.spec.gate import Gate
from harness.tests.model_edges import EVERYTHING, HOST, PAGE, PATIENT, PLAIN_HOST, state

WORD = st.integers(0, (1 << 64) - 1)
EVERY: list[Rule[Any]] = [*model.rules(), *model.exit_rules()]


# What the model knows


def test_every_citation_is_in_the_catalogue_and_every_requirement_is_known_or_left_out() -> None:
    known = catalogue.load()
    rules = {requirement for rule in EVERY for requirement in rule.cites}
    tables = {requirement for one in intercepts.INTERCEPTS.values() for requirement in one.requirements}
    cited = rules | tables | citing.CITED | set(left_out.IGNORED)
    left = set(left_out.LEFT_OUT)
    assert not (cited | left) - set(known), "no such requirement"
    assert not cited & left, "known and left out"
    ours = {id for id, requirement in known.items() if left_out.covers(requirement)}
    assert not ours - cited - left, "neither known nor left out with a reason"
    assert not left - ours, "left out needlessly"
    assert all(left_out.LEFT_OUT.values())


def test_rules_have_distinct_names_and_a_stable_order() -> None:
    names = [rule.name for rule in EVERY]
    assert len(set(names)) == len(names)
    assert all(rule.says and rule.requirements for rule in EVERY)
    order = [rule.effect for rule in model.rules()]
    assert order.index(Effect.GP) > max(n for n, effect in enumerate(order) if effect is Effect.UD)
    assert order.index(Effect.INVALID) > max(n for n, effect in enumerate(order) if effect is Effect.GP)


@pytest.mark.parametrize("module", [verdicts, cpuid, exits, guests], ids=lambda module: module.__name__)
def test_examples(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


# Verdicts


def test_what_is_looked_at_first_decides() -> None:
    one = state(cr0=1 << 32)
    assert model.judge(one).outcome is Outcome.INVALID
    unaligned = replace(one, rax=8)
    assert model.judge(unaligned).outcome is Outcome.GP
    off = replace(unaligned, host=replace(HOST, efer=0, cr0=int(Cr0.PE)))
    verdict = model.judge(off)
    assert verdict.outcome is Outcome.UD and verdict.outcome.fails
    assert [one.requirement for one in verdict.because] == ["SVM-15.4-005"]
    assert [one.requirement for one in verdict.besides] == ["SVM-15.5.1-004", "SVM-15.5.1-C-004"]
    assert str(verdict) == "#UD: SVME is 0 (SVM-15.4-005)"


def test_what_is_left_open_does_not_hide_what_must_fail() -> None:
    verdict = model.judge(state(cr0=1 << 32, tlb_control=9))
    assert (verdict.outcome, len(verdict.besides)) == (Outcome.INVALID, 1)
    assert model.judge(state(tlb_control=9)).outcome is Outcome.UNDEFINED


@given(st.integers())
@settings(PATIENT, max_examples=30)
def test_any_bytes_get_a_verdict(seed: int) -> None:
    verdict = model.judge(State(HOST, PAGE, Vmcb(Random(seed).randbytes(0x1000)), pdptes=(0, 0, 0, 0)))
    assert verdict.outcome is not Outcome.UNKNOWN
    assert verdict.violations or verdict.outcome is Outcome.RUNS


FUZZED = st.dictionaries(st.sampled_from(sorted(FIELDS)), WORD, max_size=8)


def fuzzed(mode: Mode, nested: bool, changes: dict[str, int]) -> State:
    vmcb = state(mode, nested).vmcb
    assert vmcb is not None
    for name, value in changes.items():
        known = ~Efer.LMSLE if name == "efer" else -1  # CPUID cannot say that a processor has it
        vmcb = with_field(vmcb, name, value & known & ((1 << 8 * FIELDS[name].size) - 1))
    return replace(state(mode, nested), vmcb=vmcb)


@given(st.sampled_from(Mode), st.booleans(), FUZZED)
@settings(PATIENT, max_examples=150)
def test_the_changes_lead_to_a_legal_state(mode: Mode, nested: bool, changes: dict[str, int]) -> None:
    after, made = model.mended(fuzzed(mode, nested, changes))
    left = model.judge(after)
    assert not left.doubts
    assert all(one.change is None for one in left.violations), made
    assert left.outcome is Outcome.RUNS


@given(st.sampled_from(sorted(left_out.IGNORED)), st.data())
@settings(PATIENT, max_examples=60)
def test_ignored_fields_change_nothing(requirement: str, data: st.DataObject) -> None:
    mode = data.draw(st.sampled_from([mode for mode in Mode if mode is not Mode.V86]))
    changes = {name: data.draw(WORD) for name in left_out.IGNORED[requirement]}
    assert model.judge(fuzzed(mode, False, changes)).outcome is Outcome.RUNS


@pytest.mark.parametrize("field", ["cr0", "cr4", "dr7", "guest_asid"])
def test_behind_a_clean_bit_an_illegal_value_may_not_be_noticed(field: str) -> None:
    bad = state().with_field(field, 0 if field == "guest_asid" else 1 << 40)
    dirty = model.judge(bad)
    assert dirty.outcome is Outcome.INVALID
    clean = model.judge(bad.with_field("vmcb_clean", 0xFFFF))
    assert clean.outcome is Outcome.UNDEFINED and "clean bit" in clean.because[0].why
    ignored = model.judge(replace(bad, host=PLAIN_HOST).with_field("vmcb_clean", 0xFFFF))
    assert ignored.outcome is Outcome.INVALID  # without VmcbClean the field is ignored (SVM-15.15-005)


# Guests


@pytest.mark.parametrize(
    ("mode", "changes", "cpl"),
    [
        (Mode.REAL, {"cpl": 3}, 0),
        (Mode.V86, {"cpl": 0}, 3),
        (Mode.PROTECTED, {"cpl": 3}, 3),
        (Mode.LONG, {"cpl": 2}, 2),
        (Mode.LONG, {"rflags": 1 << 17, "cpl": 1}, 1),  # there is no virtual-8086 mode in long mode
    ],
)
def test_cpl_is_forced(mode: Mode, changes: dict[str, Any], cpl: int) -> None:
    assert state(mode, **changes).guest.cpl == cpl


def test_long_mode_follows_lme_and_pg_whatever_lma_says() -> None:
    assert state(efer=Efer.SVME | Efer.LME).guest.in_64_bit
    assert not state(efer=Efer.SVME | Efer.LMA).guest.long
    assert not state(Mode.COMPATIBILITY).guest.in_64_bit


# What is not known


def test_nothing_known_of_the_processor_is_no_matter_to_a_plain_guest() -> None:
    for mode in Mode:
        verdict = model.judge(state(mode, host=model.HOST))
        assert verdict.outcome is Outcome.RUNS, verdict


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"guest_asid": 2}, "Fn8000_000A_EBX"),
        ({"cr3": 1 << 45}, "Fn8000_0008_EAX"),
        ({"cr4": Cr4.PAE | Cr4.SMEP}, "SMEP"),
        ({"nested_control": int(Nested.NP_ENABLE), "g_pat": 2}, str(NP)),
        ({"vintr": 1 << 26}, str(VNMI)),
    ],
)
def test_what_is_missing_is_named(changes: dict[str, Any], missing: str) -> None:
    verdict = model.judge(state(host=model.HOST, **changes))
    assert verdict.outcome is Outcome.UNKNOWN and not verdict.sure
    assert missing in " ".join(verdict.missing) and missing in str(verdict)


def test_a_doubt_about_what_comes_later_leaves_the_outcome_sure() -> None:
    doubtful = state(host=model.HOST, guest_asid=2)
    assert model.judge(replace(doubtful, rax=8)).sure
    assert not model.judge(replace(doubtful, host=replace(model.HOST, efer=None), rax=8)).sure
    no_vmcb = model.judge(State(HOST, rax=0xFFFF_8000_001A_5008))
    assert no_vmcb.outcome is Outcome.GP and no_vmcb.sure and no_vmcb.doubts
    assert model.judge(State(HOST, rax=PAGE)).outcome is Outcome.UNKNOWN


def test_addresses_that_no_width_can_make_legal_need_no_width() -> None:
    host = model.HOST
    assert not host.beyond(0xFFFF_F000) and host.beyond(1 << 52)
    with pytest.raises(Unknown, match="Fn8000_0008_EAX"):
        host.beyond(1 << 40)
    assert replace(host, physical_bits=40).beyond(1 << 40)
    assert host.address_mask == (1 << 52) - 1


def test_the_page_that_a_virtual_address_names_is_the_change() -> None:
    one = replace(state(), rax=0xFFFF_8000_001A_5008, rax_maps_to=0x1A_5008)
    after, _ = model.mended(one)
    assert after.rax == 0x1A_5000
    assert "of the page at 0x1a5000" in str(model.judge(one))


# CPUID


def test_a_leaf_beyond_the_last_is_zero() -> None:
    assert not Cpuid.of({0x8000_0000: (0x8000_0008, 0, 0, 0)}).has(NP)
    assert not Cpuid.of({0: (1, 0, 0, 0)}).meets(Gate.parse("Fn0000_0007_ECX[7]"))


def test_gates_are_decided_by_what_is_known() -> None:
    assert not LEAST.meets(Gate.parse("not Fn8000_0001_ECX[2] and Fn8000_000A_EDX[0]"))
    assert LEAST.meets(Gate.parse("Fn8000_000A_EDX[0] or Fn8000_0001_ECX[2]"))
    assert LEAST.meets(Gate()) and LEAST.has(SVM)
    with pytest.raises(Unknown, match=r"Fn8000_000A_EDX\[0\]"):
        LEAST.meets(Gate.parse("Fn8000_0001_ECX[2] and Fn8000_000A_EDX[0]"))
    with pytest.raises(Unknown):
        LEAST(0x8000_0001, "ECX")
    assert EVERYTHING(0x8000_000A, "EBX") == 16


RAW = """CPU 0:
   0x00000000 0x00: eax=0x00000010 ebx=0x68747541 ecx=0x444d4163 edx=0x69746e65
   0x00000007 0x00: eax=0x00000000 ebx=0x009c01a9 ecx=0x00000004 edx=0x00000000
   0x00000007 0x01: eax=0x00000001 ebx=0xffffffff ecx=0x00000000 edx=0x00000000
   0x80000000 0x00: eax=0x80000021 ebx=0x68747541 ecx=0x444d4163 edx=0x69746e65
   0x80000001 0x00: eax=0x00a00f11 ebx=0x20000000 ecx=0x75c237ff edx=0x2fd3fbff
   0x80000008 0x00: eax=0x00003028 ebx=0x00000000 ecx=0x00000000 edx=0x00000000
   0x8000000a 0x00: eax=0x00000001 ebx=0x00008000 ecx=0x00000000 edx=0x0001bcff
CPU 1:
   0x80000008 0x00: eax=0x00003030 ebx=0x00000000 ecx=0x00000000 edx=0x00000000
"""


def test_cpuid_is_read_from_what_the_tool_of_that_name_prints() -> None:
    read = Cpuid.parse(RAW)
    assert (read.physical_bits, read.asids, read.has(NP), read.has(VNMI)) == (0x28, 0x8000, True, False)
    assert read(7, "EBX") == 0x009C_01A9
    with pytest.raises(SvmconfError, match="no CPUID leaf"):
        Cpuid.parse("I am no CPUID.\n")


def test_a_change_in_words() -> None:
    assert Change("cr0", 1 << 29, 0).of(0x2000_0011) == 0x11
    assert Change("guest_asid", 3, 1).bits == 2
