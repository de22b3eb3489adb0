from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.spec import catalogue
from harness.spec.gate import Gate

SVM, NP, SKINIT = "Fn8000_0001_ECX[2]", "Fn8000_000A_EDX[0]", "Fn8000_0001_ECX[12]"


def processor(*bits: str) -> Callable[[int, str], int]:
    """A processor that reports these bits alone."""
    return lambda leaf, register: sum(
        1 << bit.bit for text in bits for bit in Gate.parse(text).bits if (bit.leaf, bit.register) == (leaf, register)
    )


@pytest.mark.parametrize(
    ("text", "bits", "missing"),
    [
        ("", (), ""),
        (SVM, (SVM,), ""),
        (SVM, (NP,), f"CPUID {SVM} (SVM) is 0"),
        (f"{SVM} and {NP}", (SVM, NP), ""),
        (f"{SVM} and {NP}", (SVM,), f"CPUID {NP} (NP) is 0"),
        (f"{SVM} and {NP}", (), f"CPUID {SVM} (SVM) is 0, {NP} (NP) is 0"),
        (f"not {NP}", (), ""),
        (f"{SVM} and not {NP}", (SVM, NP), f"CPUID {NP} (NP) is 1"),
        (f"{SVM} or {SKINIT}", (SKINIT,), ""),
        (f"{SVM} and {NP} or {SKINIT}", (SKINIT,), ""),
        (f"{SVM} and {NP} or {SKINIT}", (SVM, NP), ""),
        (f"{SVM} and {NP} or {SKINIT}", (NP,), f"CPUID {SVM} (SVM) is 0"),
    ],
)
def test_what_is_missing(text: str, bits: tuple[str, ...], missing: str) -> None:
    gate = Gate.parse(text)
    assert gate.missing(processor(*bits)) == missing
    assert gate.holds(processor(*bits)) is (missing == "")


def test_registers_and_leaves_are_told_apart() -> None:
    gate = Gate.parse("Fn8000_0001_EDX[29]")
    assert gate.holds(lambda leaf, register: 1 << 29 if (leaf, register) == (0x8000_0001, "EDX") else 0)
    assert not gate.holds(lambda leaf, register: 0 if (leaf, register) == (0x8000_0001, "EDX") else 0xFFFF_FFFF)


@pytest.mark.parametrize(
    "text",
    ["SVM", "EDX[0]", "Fn8000_000A_EDX", "Fn8000_000A_EDX[32]", "Fn8000_000A_ESI[0]", "Fn8000_000a_EDX[0]", "and",
     f"{SVM} and", f"{SVM} and ", f"{SVM}  and {NP}", f"{SVM} {NP}", f"({SVM})", f"not not {SVM}", f"{SVM} AND {NP}",
     " ", "Fn8000_000A_EDX[9]", "Fn8000_000A_EDX[00]"],
)  # fmt: skip
def test_what_is_no_gate(text: str) -> None:
    with pytest.raises(ValueError, match=r"names no CPUID bit|has no name"):
        Gate.parse(text)


_TERM = st.sampled_from([SVM, NP, SKINIT, f"not {SVM}", f"not {NP}", f"not {SKINIT}"])


@given(
    st.lists(st.lists(_TERM, min_size=1, max_size=3), min_size=1, max_size=3),
    st.sets(st.sampled_from([SVM, NP, SKINIT])),
)
def test_it_is_as_python_reads_it(alternatives: list[list[str]], bits: set[str]) -> None:
    text = " or ".join(" and ".join(terms) for terms in alternatives)
    python = text.replace(SVM, str(SVM in bits)).replace(NP, str(NP in bits)).replace(SKINIT, str(SKINIT in bits))
    assert Gate.parse(text).holds(processor(*bits)) is eval(python)
    assert str(Gate.parse(text)) == text


def test_every_gate_of_the_catalogue_reads_back_and_can_hold() -> None:
    for requirement in catalogue.load().values():
        gate = requirement.feature_gate
        assert Gate.parse(str(gate)) == gate
        wanted = [str(term.bit) for terms in gate.alternatives[:1] for term in terms if term.wanted]
        assert gate.holds(processor(*wanted)), requirement.id
