from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness import build, paths
from harness.boot import Boot
from harness.errors import ImageError, ManifestError
from harness.hypervisors.manifest import load
from harness.machine.image import Image


def write(folder: Path, text: str) -> str:
    path = folder / "mine.toml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name = 'x'\nimage = 'x.elf'\nmemroy = 4", "unknown key memroy, did you mean memory?"),
        ("name = 'x'", "image: Field required"),
        ("name = 'x'\nimage = 'x'\n[[outcome]]\nname = 'y'", "outcome.0: Value error, needs either"),
        ("name = 'x'\nimage = 'x'\n[[outcome]]\nname = 'y'\nconsole = '('", "not a regular expression"),
        ("name = 'x'\nimage = 'x'\n[[outcome]]\nname = 'y'\nexit = 300", "outcome.0.exit: Input should be less than"),
        ("name = ", "Invalid value"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ManifestError, match=re.escape(says)):
        load(write(tmp_path, text))


def test_unknown_manifest_names_the_known() -> None:
    with pytest.raises(ManifestError, match="one of: svmconf"):
        load("nothing")


def test_image_is_relative_to_the_manifest(tmp_path: Path) -> None:
    assert load(write(tmp_path, "name = 'x'\nimage = 'sub/x.elf'")).image == tmp_path / "sub" / "x.elf"


def test_command_line() -> None:
    ours = load("svmconf")
    assert ours.command_line(Boot(guest="spin", count=5, words=("npt=off",))) == "guest=spin count=5 npt=off"
    assert ours.command_line(Boot()) == ""


def test_our_outcomes_are_those_of_the_protocol() -> None:
    protocol = (paths.ROOT / "docs" / "protocol.md").read_text()
    documented = {m[2]: int(m[1], 16) for m in re.finditer(r"^\| ([0-9A-F]{2})h \| `([^`]+)`", protocol, re.M)}
    assert {o.name: o.exit for o in load("svmconf").outcome} == documented


def test_our_guests_are_those_of_the_protocol() -> None:
    protocol = (paths.ROOT / "docs" / "protocol.md").read_text()
    table = protocol.split("| guest | mode | tries |")[1].split("\n\n")[0]
    offered = {name.removeprefix("pc.") for name in load("svmconf").guests}
    assert offered == set(re.findall(r"^\| `(\w+)`", table, re.M))


def test_our_defects_are_those_of_the_docs() -> None:
    documented = re.findall(r"^\| `([a-z0-9-]+)` \|", (paths.ROOT / "docs" / "defects.md").read_text(), re.M)
    assert list(build.defects()) == documented


def test_our_defects_are_those_of_the_image() -> None:
    """In the same order: the record ``defects`` has a bit for each place."""
    source = (paths.HYPERVISOR / "core" / "src" / "defect.rs").read_text()
    assert list(build.defects()) == re.findall(r'^    [A-Z0-9_]+ = "([a-z0-9-]+)",', source, re.M)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"Just some words.\n", "neither ELF nor a multiboot kernel"),
        (b"", "neither ELF nor a multiboot kernel"),
        (b"\x7fELF" + bytes(60), "damaged ELF"),
        (b"\x7fELF\x02\x01\x01" + b"\xff" * 200, "damaged ELF"),
    ],
)
def test_garbage_is_no_image(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "garbage"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=says):
        Image(path)


def test_no_image(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="No such file"):
        Image(tmp_path / "none")
