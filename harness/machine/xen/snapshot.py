"""Keeps the state of an L0 whose domain waits for an image, and restores it in a fraction of a second.

A state is a folder: ``device`` is what QEMU saves of everything but RAM, ``ram`` L0's RAM with holes where nothing was
ever written (some 90 MiB of data), ``found.json`` what was found in it. RAM is copied by us and not by QEMU, which
would look at each page of it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout

from harness.deadline import Deadline
from harness.errors import EngineError
from harness.machine.l1.snapshot import folder
from harness.machine.qmp import Qmp
from harness.machine.xen.found import Found, extents

_KEPT = 6  # of one name: what CPUs and sizes of memory were asked for, in a version or two
_CHUNK = 1 << 20
_CAPABILITY = [{"capability": "x-ignore-shared", "state": True}]


class State:
    """A kept state, in its folder."""

    def __init__(self, home: Path) -> None:
        self.home = home

    @property
    def found(self) -> Found:
        """What was found in it."""
        return Found.model_validate_json((self.home / "found.json").read_bytes())

    @property
    def refusal(self) -> str | None:
        """Why there is no such state, if it was found out that there cannot be one."""
        file = self.home / "refused"
        return file.read_text() if file.exists() else None

    def refuse(self, words: str) -> None:
        """Remember that there cannot be such a state."""
        (self.home / "refused").write_text(words)

    @property
    def whole(self) -> bool:
        """Whether it is all there."""
        return (self.home / "found.json").exists() or (self.home / "refused").exists()

    def save(self, qmp: Qmp, ram: int, found: Found, deadline: Deadline) -> None:
        """Write it all; the machine must be stopped, and ``ram`` be the descriptor of its RAM."""
        qmp.command("migrate-set-capabilities", capabilities=_CAPABILITY)
        qmp.command("migrate", uri=f"file:{self.home / 'device'}")
        while (status := qmp.command("query-migrate").get("status")) != "completed":
            if status in ("failed", "cancelled"):
                raise EngineError("L0's state cannot be saved")
            deadline.check("saving L0's state")
            time.sleep(0.01)
        with (self.home / "ram").open("wb") as file:
            copy(ram, file.fileno(), sparse=True)
        (self.home / "found.json").write_text(found.model_dump_json())

    def load(self, qmp: Qmp, ram: int, deadline: Deadline) -> None:
        """Fill an L0 that was started with ``-incoming defer``, and stays stopped."""
        with (self.home / "ram").open("rb") as file:
            copy(file.fileno(), ram)
        qmp.command("migrate-set-capabilities", capabilities=_CAPABILITY)
        qmp.command("migrate-incoming", uri=f"file:{self.home / 'device'}")
        while qmp.command("query-status")["status"] == "inmigrate":
            deadline.check("restoring L0's state")
            time.sleep(0.002)


def copy(source: int, target: int, *, sparse: bool = False) -> None:
    """Copy a file's data, leaving holes; with ``sparse`` what is zero becomes a hole too."""
    os.ftruncate(target, os.fstat(source).st_size)
    for start, end in extents(source):
        at = start
        while at < end:
            size = min(_CHUNK, end - at)
            if sparse:
                _without_zeros(source, target, at, size)
            else:
                os.lseek(target, at, os.SEEK_SET)
                size = os.sendfile(target, source, at, size)
                if not size:
                    raise OSError("the file ends before its data")
            at += size


def _without_zeros(source: int, target: int, start: int, size: int) -> None:
    step = 1 << 16
    data = os.pread(source, size, start)
    for at in range(0, size, step):
        piece = data[at : at + step]
        if piece.count(0) != len(piece):
            os.pwrite(target, piece, start + at)


def kept(name: str, key: str, make: Callable[[State], None], patience: float) -> State:
    """The state of that name and key. ``make`` fills one where there is none; meanwhile others wait for it.

    :raises EngineError: it cannot be made or kept.
    """
    home = folder() / name / key
    if not State(home).whole:
        try:
            home.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(home.parent / "lock", timeout=patience):
                if not State(home).whole:
                    _make(home, make)
        except Timeout as error:
            raise EngineError(f"{name}: another process has been booting it for {patience:.0f} s") from error
        except OSError as error:
            raise EngineError(f"{name}: its state cannot be kept: {error}", f"is there room in {folder()}?") from error
    with contextlib.suppress(OSError):
        os.utime(home)  # what was used last is kept longest
    return State(home)


def forget(state: State) -> None:
    """Remove a state that is of no use, so that it is made anew."""
    shutil.rmtree(state.home, ignore_errors=True)


def _make(home: Path, make: Callable[[State], None]) -> None:
    draft = Path(tempfile.mkdtemp(prefix="draft-", dir=home.parent))
    try:
        make(State(draft))
        shutil.rmtree(home, ignore_errors=True)
        draft.rename(home)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    _prune(home.parent)


def _prune(home: Path) -> None:
    """Keep the few that were used last, and sweep drafts of processes that were killed; we hold the lock."""
    folders = [entry for entry in home.iterdir() if entry.is_dir()]
    drafts = [entry for entry in folders if entry.name.startswith("draft-")]
    whole = sorted((entry for entry in folders if entry not in drafts), key=lambda entry: -entry.stat().st_mtime)
    for old in (*drafts, *whole[_KEPT:]):
        shutil.rmtree(old, ignore_errors=True)
