from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.spec.versions import Versions

DEBIAN = "7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)"


@pytest.mark.parametrize(
    ("text", "version", "holds"),
    [
        ("", DEBIAN, True),
        ("7.2", DEBIAN, True),
        ("7", DEBIAN, True),
        ("7.2.2", DEBIAN, False),
        ("7.20", DEBIAN, False),
        ("7.2", "7.20.1", False),
        ("7.2", "7.2", True),
        ("5.2, 7.2", DEBIAN, True),
        ("5.2, 8", DEBIAN, False),
        ("from 7.2", DEBIAN, True),
        ("from 7.2", "10.0.13", True),
        ("from 7.2.23", DEBIAN, False),
        ("before 9", DEBIAN, True),
        ("before 7.2.22", DEBIAN, False),
        ("from 7.2 before 10.0.3", "10.0.2 (Debian 1:10.0.2+ds-2+deb13u1~bpo12+1)", True),
        ("from 7.2 before 10.0.3", "10.0.13", False),
        ("6.12", "Linux 6.12.48-1 (6.12.48+deb13-cloud-amd64)", True),
    ],
)
def test_what_is_meant(text: str, version: str, holds: bool) -> None:
    assert Versions.parse(text).holds(version) is holds
    assert str(Versions.parse(text)) == text


@pytest.mark.parametrize(
    "text", [r"7\.2", ">= 7.2", "from", "before", "7.2,", "from 7.2before 9", "7.2 to 9", "x", "from 9 before 7.2", " "]
)
def test_what_is_no_range(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no range of versions|holds no version"):
        Versions.parse(text)


def test_a_version_without_a_number() -> None:
    with pytest.raises(ValueError, match="has no number"):
        Versions.parse("7.2").holds("unknown")


@pytest.mark.parametrize(
    ("text", "mended", "known", "left"),
    [
        ("", "11.1.3", ["11.1.3"], "before 11.1.3"),
        ("", "10.0.13", ["7.2.22", "10.0.13", "11.1.3"], "before 10.0.13"),
        ("from 7.2", "10.0.13", [], "from 7.2 before 10.0.13"),
        ("5.2", "5.2.0", [], None),
        ("5.2", "5.2.3", [], "from 5.2 before 5.2.3"),
        ("5.2, from 7.2", "5.2.0", [], "from 7.2"),
        ("5.2", "7.2.22", [], "5.2"),
        ("from 10.0.13", "10.0.13", [], None),
    ],
)
def test_a_mended_version_is_taken_out(text: str, mended: str, known: list[str], left: str | None) -> None:
    versions = Versions.parse(text).without(mended, known=[v for v in known if v < mended])
    assert (str(versions) if versions else None) == left


def test_a_version_that_fails_again_stays() -> None:
    assert str(Versions().without("10.0.13", known=["11.1.3"])) == "before 10.0.13, from 11.1.3"


@pytest.mark.parametrize(
    ("fail", "good", "text"),
    [
        (["7.2.22"], [], "7.2.22"),
        (["5.2.0", "7.2.22"], [], ""),
        (["5.2.0"], ["7.2.22"], "before 7.2.22"),
        (["11.1.3"], ["7.2.22"], "from 11.1.3"),
        (["7.2.22", "10.0.2"], ["5.2.0", "10.0.13"], "from 7.2.22 before 10.0.13"),
        (["5.2.0", "11.1.3"], ["7.2.22"], "before 7.2.22, from 11.1.3"),
    ],
)
def test_ranges_from_what_was_tried(fail: list[str], good: list[str], text: str) -> None:
    assert str(Versions.of(fail, good)) == text


_VERSION = st.tuples(*[st.integers(0, 3)] * 3).map(lambda n: ".".join(map(str, n)))


@given(st.sets(_VERSION, min_size=1), st.sets(_VERSION))
def test_they_hold_these_and_none_of_the_others(fail: set[str], good: set[str]) -> None:
    versions = Versions.parse(str(Versions.of(fail, good - fail)))
    assert all(versions.holds(version) for version in fail)
    assert not any(versions.holds(version) for version in good - fail)


@given(st.sets(_VERSION, min_size=1), st.sets(_VERSION, min_size=1))
def test_taking_out_leaves_no_mended_one_and_every_known_one(fail: set[str], mended: set[str]) -> None:
    versions = Versions()
    for version in sorted(mended - fail, reverse=True):
        versions = versions.without(version, known=fail)
    assert not any(versions.holds(version) for version in mended - fail)
    assert all(versions.holds(version) for version in fail)
