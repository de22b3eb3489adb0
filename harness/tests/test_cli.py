"""The command line as a person meets it: one clear line for each mistake, a console that can be left."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pexpect
import pytest

from harness import build, paths
from harness.cli import main
from harness.engines import select
from harness.errors import SvmconfError

SVMCONF = [sys.executable, "-m", "harness.cli"]


@dataclass(frozen=True)
class Done:
    """What a command left: its exit status, and what it said."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def svmconf(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Runs a command in this process, as its entry point would."""

    def run(*arguments: str, **env: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["svmconf", *arguments])
        monkeypatch.setattr("signal.signal", lambda *_: None)  # the handlers are for a process of its own
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as leaving:
            main()
        said = capsys.readouterr()
        return Done(int(leaving.value.code or 0), said.out, said.err)

    return run


@pytest.mark.parametrize(
    ("arguments", "env", "says", "way_out"),
    [
        (("run", "--cpu", "nope"), {}, "has no CPU model 'nope'", "it has:"),
        (("run", "--engine", "nope"), {}, "no engine 'nope'", "one of: auto, tcg, kvm"),
        (("run", "--hypervisor", "nope"), {}, "no hypervisor manifest 'nope'", "one of: svmconf"),
        (("run", "--defect", "nope"), {}, "no seeded defect 'nope'", "one of: vendor-unchecked"),
        (("run", "--out", "/proc/nope"), {}, "cannot write reports to /proc", "--out DIR"),
        (("run",), {"SVMCONF_QEMU": "/nonexistent"}, "no QEMU: /nonexistent", "apt-get install"),
        (("run",), {"SVMCONF_QEMU": "/bin/true"}, "/bin/true is no QEMU", ""),
        (("shell", "--guest", "nope"), {}, "offers no guest 'nope'", "it offers: hello"),
    ],
)
def test_mistakes_are_one_line(
    svmconf: Callable[..., Done], arguments: tuple[str, ...], env: dict[str, str], says: str, way_out: str
) -> None:
    done = svmconf(*arguments, **env)
    assert done.returncode == 2
    lines = done.stderr.strip().splitlines()
    assert says in lines[0] and len(lines) == (2 if way_out else 1), done.stderr
    assert way_out in lines[-1]


@pytest.mark.parametrize("choice", ["auto", "tcg", "qemu-system"])
def test_one_engine_is_chosen_by_the_words_of_every_command(choice: str) -> None:
    assert select.one(choice).name.startswith(select.SYSTEM)


@pytest.mark.parametrize("choice", ["qemu-5.2,bochs-3.1", "all", ","])
def test_one_engine_is_not_several(choice: str) -> None:
    with pytest.raises(SvmconfError, match="takes one engine"):
        select.one(choice)


def test_text_file_as_image(svmconf: Callable[..., Done], tmp_path: Path) -> None:
    (tmp_path / "image").write_text("I am no kernel.\n")
    manifest = tmp_path / "it.toml"
    manifest.write_text("name = 'it'\nimage = 'image'\n")
    done = svmconf("run", "--hypervisor", str(manifest), "--out", str(tmp_path / "out"))
    assert done.returncode == 2
    assert "is no bootable image" in done.stderr and "Traceback" not in done.stderr


def test_doctor_tells_what_there_is(svmconf: Callable[..., Done]) -> None:
    done = svmconf("doctor")
    assert done.returncode == 0, done.stdout
    assert "engine: qemu-" in done.stdout and "KVM with SVM" in done.stdout


def shell(guest: str) -> pexpect.spawn[bytes]:
    build.image()
    return pexpect.spawn(SVMCONF[0], [*SVMCONF[1:], "shell", "--guest", guest], cwd=str(paths.ROOT), timeout=60)


def test_shell_shows_the_console() -> None:
    console = shell("hello")
    console.expect("QMP +/[^\r]+")
    console.expect("gdbstub +/[^\r]+")
    console.expect("@rec .* outcome name=guest-finished")
    console.expect("ended with exit status 33: guest-finished")
    console.expect(pexpect.EOF)
    console.close()


def test_shell_can_be_left() -> None:
    console = shell("halt")
    console.expect("gdbstub +(/[^\r]+)")
    assert isinstance(console.match, re.Match)
    socket = Path(console.match[1].decode())
    console.expect("Ctrl-] leaves")
    console.send("\x1d")
    console.expect(pexpect.EOF)
    console.close()
    assert not socket.exists()
