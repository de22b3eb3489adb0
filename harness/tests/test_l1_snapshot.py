"""States of L1 systems: what names them, how they are kept, and what happens to those that are of no use."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.engines.store import EngineMissing, Runnable
from harness.engines.store import runnable as stored
from harness.errors import EngineError
from harness.machine.l1 import snapshot
from harness.machine.l1.snapshot import System, restored, saved

L0 = "qemu-10.0"
NOBODY = "a QEMU that is never started"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SVMCONF_CACHE", str(tmp_path))
    return tmp_path / "snapshots"


def system(binary: Path, **changes: object) -> System:
    qemu = Runnable(
        name="qemu", family="qemu", version="10.0.1", argv=(str(binary),), env={}, arguments=(), root=binary.parent
    )
    made = System("tiny", qemu, "EPYC", 64, ("-kernel", "@kernel@"), {"kernel": b"1"}, ("port",), ("port", b"UP"))
    return replace(made, **changes)  # type: ignore[arg-type]


@pytest.fixture
def nobody(tmp_path: Path) -> Path:
    (tmp_path / "qemu").write_text(NOBODY)
    return tmp_path / "qemu"


@pytest.fixture(scope="module")
def qemu() -> Runnable:
    try:
        return stored(L0)
    except EngineMissing as error:
        pytest.skip(str(error))


@pytest.fixture
def disk(qemu: Runnable, cache: Path) -> Iterator[System]:
    """A system that needs no kernel: a boot sector that says UP on the serial port, then echoes."""
    sector = bytes.fromhex(
        "ba fd 03 be 1d 7c"  # mov dx, 3FDh; mov si, text
        "ac 84 c0 74 05"  # next: lodsb; test al, al; jz wait
        "b2 f8 ee eb f6"  # mov dl, F8h; out dx, al; jmp next
        "b2 fd ec a8 01 74 f9"  # wait: mov dl, FDh; in al, dx; test al, 1; jz wait
        "b2 f8 ec ee eb f3"  # mov dl, F8h; in al, dx; out dx, al; jmp wait
        "55 50 0a 00"  # text: "UP"
    )
    boot = sector.ljust(510, b"\0") + b"\x55\xaa"
    yield System(
        "echo",
        qemu,
        "EPYC",
        16,
        ("-serial", "chardev:port", "-drive", "file=@disk@,format=raw,if=ide,snapshot=on"),
        {"disk": boot},
        ("port",),
        ("port", b"UP\n"),
        boot_seconds=60,
    )


def echoes(one: System) -> None:
    with restored(one) as l1:
        l1.channels["port"].sendall(b"x")
        l1.channels["port"].settimeout(10)
        assert l1.channels["port"].recv(1) == b"x"


def test_everything_that_goes_in_is_in_the_name(nobody: Path) -> None:
    one = system(nobody)
    assert system(nobody).key == one.key
    others = [
        system(nobody, cpu="max"),
        system(nobody, memory=128),
        system(nobody, arguments=("-initrd", "@kernel@")),
        system(nobody, files={"kernel": b"2"}),
        system(nobody, channels=("port", "other")),
        system(nobody, ready=("port", b"DOWN")),
    ]
    assert len({one.key, *(other.key for other in others)}) == 1 + len(others)


def test_a_file_is_named_by_its_content_not_its_place(nobody: Path, tmp_path: Path) -> None:
    here, there = tmp_path / "a", tmp_path / "b"
    here.write_bytes(b"kernel")
    there.write_bytes(b"kernel")
    assert system(nobody, files={"kernel": here}).key == system(nobody, files={"kernel": there}).key


def test_words_name_files_and_descriptors(nobody: Path) -> None:
    one = system(nobody, arguments=("-kernel", "@kernel@", "-initrd", "@disk@ quiet"))
    command = one.command(Path("/home"), {"disk": 7})
    assert command[-3:] == ["/home/kernel", "-initrd", "/proc/self/fd/7 quiet"]


def test_few_states_of_a_name_are_kept_and_no_drafts(cache: Path) -> None:
    home = cache / "tiny"
    for number in range(9):
        (home / f"key{number}").mkdir(parents=True)
        os.utime(home / f"key{number}", (number, number))
    (home / "draft-x").mkdir()
    snapshot._prune(home)
    assert sorted(entry.name for entry in home.iterdir()) == [f"key{n}" for n in range(3, 9)]


def test_a_system_that_does_not_start_leaves_nothing(cache: Path, nobody: Path) -> None:
    nobody.write_text("#!/bin/sh\necho no such machine\nexit 1\n")
    nobody.chmod(0o755)
    with pytest.raises(EngineError, match="no such machine"):
        saved(system(nobody))
    assert [entry.name for entry in (cache / "tiny").iterdir()] == ["lock"]


def test_a_state_is_made_once_and_runs(disk: System, cache: Path) -> None:
    echoes(disk)
    state = saved(disk)
    made = state.stat().st_mtime_ns
    echoes(disk)
    assert saved(disk).stat().st_mtime_ns == made
    assert snapshot.remove("echo") > 0
    assert not state.exists()


def test_a_state_that_was_cut_short_is_made_anew(disk: System, cache: Path) -> None:
    state = saved(disk)
    whole = state.stat().st_size
    os.truncate(state, whole // 3)
    echoes(disk)
    assert saved(disk).stat().st_size > whole // 2


def test_a_system_that_never_comes_up_says_what_it_said(disk: System, cache: Path) -> None:
    with pytest.raises(EngineError, match=r"echo does not come up: .*UP"):
        saved(replace(disk, ready=("port", b"NEVER"), boot_seconds=2.0))


def test_nothing_outlives_a_killed_process(disk: System, cache: Path) -> None:
    state = saved(disk)
    script = textwrap.dedent(f"""
        import os, signal
        from pathlib import Path
        from harness.machine.l1.running import Running
        command = {disk.command(state.parent, {})!r}
        l1 = Running(command, ("port",), dict(os.environ))
        print(l1.child.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    pid = int(done.stdout)
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists() or "State:\tZ" in Path(f"/proc/{pid}/status").read_text():
            break
        subprocess.run(["sleep", "0.05"], check=True)
    else:
        pytest.fail("the QEMU of a killed process still runs")
    shutil.rmtree(cache)
