from __future__ import annotations

from datetime import date

import pytest

from harness import paths
from harness.spec import catalogue, expectations
from harness.spec.expectations import Deviation
from harness.suite import cases


def test_every_deviation_is_about_a_case_and_its_requirement() -> None:
    """A misspelt entry would excuse nothing and nobody would notice."""
    suite = {
        name.partition("::")[2]: {r for mark in case.pytestmark if mark.name == "requirement" for r in mark.args}  # type: ignore[attr-defined]
        for kind in ("boots", "executes")
        for name, case, _ in cases(kind)
    }
    for path in paths.EXPECTATIONS.glob("*.toml"):
        for deviation in expectations.load("", path.stem):
            assert deviation.requirement in catalogue.load()
            assert deviation.requirement in suite[deviation.case], deviation


def test_family_and_version_are_found() -> None:
    assert expectations.load("qemu-7.2", "qemu") == expectations.load("qemu-99.1", "qemu") != ()
    assert expectations.load("qemu-7.2+kvm", "qemu+kvm") == ()


@pytest.mark.parametrize(
    ("versions", "cpu", "on", "applies"),
    [
        ("", "", "EPYC", True),
        ("7\\.2", "EPYC", "EPYC", True),
        ("7\\.2", "EPYC", "EPYC-Milan", False),
        ("8", "", "EPYC", False),
    ],
)
def test_conditions(versions: str, cpu: str, on: str, applies: bool) -> None:
    deviation = Deviation(
        requirement="SVM-15.4-001", case="test_x", versions=versions, cpu=cpu, observed="", cause="", upstream="",
        date=date(2026, 1, 1),
    )  # fmt: skip
    assert deviation.applies("test_x", "7.2.22 (Debian)", on) is applies
    assert not deviation.applies("test_y", "7.2.22 (Debian)", on)
