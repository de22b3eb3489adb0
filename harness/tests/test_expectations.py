from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import SvmconfError
from harness.spec import expectations
from harness.spec.expectations import Deviation

GOOD = {
    "requirement": '"SVM-15.5.1-004"',
    "case": '"test_unaligned_address_is_gp"',
    "observed": '"it runs"',
    "cause": '"helper_vmrun() does not look"',
    "upstream": '"not reported"',
    "date": "2026-01-01",
}
Read = Callable[..., list[Deviation]]


def entry(**changes: str | None) -> str:
    fields = {**GOOD, **changes}
    return (
        "\n".join(["[[deviation]]", *(f"{key} = {value}" for key, value in fields.items() if value is not None)]) + "\n"
    )


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read(*entries: str, name: str = "qemu") -> list[Deviation]:
        path = tmp_path / f"{name}.toml"
        path.write_text("\n".join(entries))
        return list(expectations.read(path))

    return read


def test_the_expectations_of_the_project_are_good() -> None:
    """Each is about a case and a requirement that it names, and is understood: a misspelt one would excuse nothing."""
    assert expectations.complaints() == []


def test_family_and_version_are_found(read: Read, tmp_path: Path) -> None:
    read(entry())
    read(entry(), entry(cpus='["EPYC"]'), name="qemu-7.2")
    assert len(expectations.load("qemu-7.2", "qemu", tmp_path)) == 3
    assert len(expectations.load("qemu-99.1", "qemu", tmp_path)) == 1
    assert expectations.load("qemu-7.2+kvm", "qemu+kvm", tmp_path) == ()


@pytest.mark.parametrize(
    ("conditions", "on", "applies"),
    [
        ({}, ("EPYC", ""), True),
        ({"versions": '"7.2"'}, ("EPYC", ""), True),
        ({"versions": '"before 7"'}, ("EPYC", ""), False),
        ({"cpus": '["EPYC"]'}, ("EPYC", "x"), True),
        ({"cpus": '["EPYC"]'}, ("EPYC-Milan", ""), False),
        ({"cpus": '["qemu64", "EPYC*"]'}, ("EPYC-Milan", ""), True),
        ({"cpus": '["EPYC,-svm"]'}, ("EPYC,-svm", ""), True),
        ({"variants": '["bit 3?"]'}, ("EPYC", "bit 31"), True),
        ({"variants": '["bit 3?"]'}, ("EPYC", "bit 41"), False),
    ],
)
def test_conditions(read: Read, conditions: dict[str, str], on: tuple[str, str], applies: bool) -> None:
    (deviation,) = read(entry(**conditions))
    assert deviation.applies("test_unaligned_address_is_gp", "7.2.22 (Debian)", *on) is applies
    assert not deviation.applies("test_y", "7.2.22 (Debian)", *on)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"colour": '"red"'}, "colour: Extra inputs are not permitted"),
        ({"cause": None}, "cause: Field required"),
        ({"observed": '""'}, "observed: String should have at least 1 character"),
        ({"case": '"vmrun"'}, "case: String should match"),
        ({"upstream": '"somewhere"'}, "upstream: String should match"),
        ({"versions": "'7\\.2'"}, r"versions: '7\.2' is no range of versions: write 5.2, or from 7.2 before 10.0.3"),
        ({"cpus": '"EPYC"'}, "cpus: Input should be a valid tuple"),
        ({"date": '"soon"'}, "date: Input should be a valid date"),
    ],
)
def test_a_wrong_entry_is_named_in_one_line(read: Read, changes: dict[str, str | None], says: str) -> None:
    with pytest.raises(SvmconfError) as caught:
        read(entry(**changes))
    assert "qemu.toml: entry 1, " in caught.value.what
    assert says in caught.value.what and "\n" not in caught.value.what


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"requirement": '"SVM-15.5.1-999"'}, "the catalogue has no such requirement"),
        ({"case": '"test_nothing"'}, "the suite has no such case"),
        ({"requirement": '"SVM-15.5.1-002"'}, "the case does not name the requirement"),
        ({"cause": f'"{expectations.TODO}"'}, "its cause is not understood yet"),
    ],
)
def test_what_is_wrong_with_an_entry(read: Read, tmp_path: Path, changes: dict[str, str | None], says: str) -> None:
    read(entry(**changes))
    (line,) = expectations.complaints(tmp_path)
    assert line.startswith("qemu.toml: SVM-") and says in line


def test_what_stands_there_twice(read: Read, tmp_path: Path) -> None:
    read(entry(), entry(versions='"7.2"'), entry(versions='"7.2"'))
    (line,) = expectations.complaints(tmp_path)
    assert line.endswith("stands there twice")
