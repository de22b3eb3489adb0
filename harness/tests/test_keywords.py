from __future__ import annotations

import doctest

import pytest

from harness import keywords
from harness.errors import SvmconfError
from harness.keywords import Keywords


def test_the_example() -> None:
    assert doctest.testmod(keywords).failed == 0


@pytest.mark.parametrize(
    ("expression", "matches"),
    [
        ("", True),
        ("vmrun", True),
        ("VMRUN or nothing", True),
        ("not vmrun", False),
        ("not (nothing or else) and 15.5.1-002", True),
        ("[qemu-5.2:EPYC]", True),
        ("cpl and bochs", False),
    ],
)
def test_words_and_operators(expression: str, matches: bool) -> None:
    assert Keywords(expression).match("test_vmrun_at_cpl_3[qemu-5.2:EPYC] SVM-15.5.1-002") is matches


@pytest.mark.parametrize("expression", ["a b", "and", "a and", "(a", "a (b)", "()", "not"])
def test_what_is_no_expression(expression: str) -> None:
    with pytest.raises(SvmconfError, match="is no expression"):
        Keywords(expression)
