"""Boots an L1 system once, keeps its state, and restores it in a fraction of a second from then on.

::

    system = System("linux-6.12", qemu, "EPYC", 256, arguments, files, ("control",), ("control", b"READY"))
    with restored(system) as l1:
        l1.channels["control"].sendall(...)

A state is named by all that went into it: QEMU's version, the command line, the content of every file. States are kept
below ``SVMCONF_CACHE``, or else the user's cache folder; one is made by whoever needs it first, others wait for it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from harness.deadline import Deadline
from harness.engines.store.cache import folder as store_folder
from harness.engines.store.programs import Runnable
from harness.errors import DeadlineExceeded, EngineError
from harness.machine.l1.running import Running

_FORMAT = "1"
_KEPT = 6  # of one name: a few processor models and sizes of memory, in two checkouts that share a cache
_FIRST_WITH_FILES = (8, 2)  # migrates to a file by itself
_BOOT_SECONDS = 180.0
_RESTORE_SECONDS = 30.0
_ACCELERATOR = "tcg,tb-size=128"  # MiB of translated code, rather than up to a GiB: many may run at once
_WORD = re.compile(r"@(\w+)@")


@dataclass(frozen=True)
class System:
    """What boots in L0, and how it shows that it is up.

    :param name: names the folder of its states.
    :param qemu: L0.
    :param cpu: L0's ``-cpu``.
    :param memory: MiB.
    :param arguments: further words of the command line. ``@NAME@`` stands for the path of one of ``files``, or of a
        descriptor that is handed to :func:`restored`.
    :param files: by name: a file of ours, or content for one that is kept beside the state.
    :param channels: chardevs by id, each a socket to us (``-device virtserialport,chardev=ID``, ``-serial
        chardev:ID``). The chardev ``log`` is there already: a file in memory, :attr:`Running.log`.
    :param ready: channel, and the bytes on it that say that the system is up. They are taken off the channel.
    :param boot_seconds: how long it may take to come up.
    """

    name: str
    qemu: Runnable
    cpu: str
    memory: int
    arguments: tuple[str, ...]
    files: Mapping[str, bytes | Path]
    channels: tuple[str, ...]
    ready: tuple[str, bytes]
    boot_seconds: float = _BOOT_SECONDS
    key: str = field(init=False)

    def __post_init__(self) -> None:
        binary = Path(self.qemu.argv[-1]).stat()
        digest = hashlib.sha256()
        for word in (_FORMAT, self.qemu.version, f"{binary.st_size} {binary.st_mtime_ns}", self.cpu, f"{self.memory}"):
            digest.update(f"{word}\0".encode())
        digest.update(repr((self.arguments, self.channels, self.ready)).encode())
        for name, content in sorted(self.files.items()):
            data = content.read_bytes() if isinstance(content, Path) else content
            digest.update(f"{name} {hashlib.sha256(data).hexdigest()}\0".encode())
        object.__setattr__(self, "key", digest.hexdigest()[:24])

    def command(self, home: Path, descriptors: Mapping[str, int]) -> list[str]:
        """The command line without channels and monitor; ``home`` has the files that are kept with the state."""
        places = {name: str(file if isinstance(file, Path) else home / name) for name, file in self.files.items()}
        places |= {name: f"/proc/self/fd/{number}" for name, number in descriptors.items()}
        return [
            *self.qemu.argv,
            *self.qemu.arguments,
            *("-machine", "pc", "-accel", _ACCELERATOR, "-cpu", self.cpu, "-m", f"{self.memory}M"),
            *("-nodefaults", "-no-user-config", "-vga", "none", "-display", "none", "-no-reboot"),
            *(_WORD.sub(lambda word: places[word[1]], argument) for argument in self.arguments),
        ]

    def start(self, home: Path, descriptors: Mapping[str, int], *more: str) -> Running:
        """A QEMU with this system, just started."""
        env = {**os.environ, **self.qemu.env}
        command = [*self.command(home, descriptors), *more]
        return Running(command, self.channels, env, tuple(descriptors.values()))


def folder() -> Path:
    """Where states are kept: beside the engine store."""
    return store_folder().parent / "snapshots"


def restored(system: System, descriptors: Mapping[str, int] | None = None, more: Sequence[str] = ()) -> Running:
    """The system as it was when it was just up, running; its state is made first where there is none.

    :param descriptors: open files that the command line names as ``@NAME@``; QEMU inherits them.
    :param more: further words of the command line, that change nothing of the state.
    :raises EngineError: it does not boot, or cannot be restored.
    """
    given = descriptors or {}
    state = saved(system, given)
    try:
        return _restore(system, state, given, more)
    except EngineError:
        # Whoever is asked for a state that is of no use (cut short by a full disk, say) makes it anew, once.
        shutil.rmtree(state.parent, ignore_errors=True)
        return _restore(system, saved(system, given), given, more)


def saved(system: System, descriptors: Mapping[str, int] | None = None) -> Path:
    """The file with the system's state; boots it when there is none.

    :raises EngineError: it does not boot.
    """
    home = folder() / system.name / system.key
    state = home / "state"
    if not state.exists():
        try:
            home.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(home.parent / "lock", timeout=2 * system.boot_seconds):
                if not state.exists():
                    _make(system, home, descriptors or {})
        except Timeout as error:
            raise EngineError(f"{system.name}: another process has been booting it for too long") from error
        except OSError as error:
            raise EngineError(f"{system.name}: its state cannot be kept: {error}", _room()) from error
    with contextlib.suppress(OSError):
        os.utime(home)  # what was used last is kept longest
    return state


def remove(name: str = "") -> int:
    """Remove the states of one name, or all; return their size in bytes. Harmless for those that run."""
    homes = [folder() / name] if name else [folder()]
    size = sum(file.stat().st_size for home in homes for file in home.rglob("*") if file.is_file())
    for home in homes:
        shutil.rmtree(home, ignore_errors=True)
    return size


def _make(system: System, home: Path, descriptors: Mapping[str, int]) -> None:
    draft = Path(tempfile.mkdtemp(prefix="draft-", dir=home.parent))
    try:
        for name, content in system.files.items():
            if isinstance(content, bytes):
                (draft / name).write_bytes(content)
        with system.start(draft, descriptors) as l1:
            deadline = Deadline.after(system.boot_seconds)
            l1.wait_for(*system.ready, deadline)
            l1.qmp.command("stop")
            l1.qmp.command("migrate", uri=_uri(system, draft / "state"))
            while (status := l1.qmp.command("query-migrate").get("status")) != "completed":
                if status in ("failed", "cancelled"):
                    raise EngineError(f"{system.name}: its state cannot be saved: {l1.child.said}", _room())
                deadline.check(f"saving the state of {system.name}")
                time.sleep(0.02)
        shutil.rmtree(home, ignore_errors=True)
        draft.rename(home)
    except DeadlineExceeded as error:
        raise EngineError(f"{system.name} does not come up: {error.what}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    _prune(home.parent)


def _restore(system: System, state: Path, descriptors: Mapping[str, int], more: Sequence[str]) -> Running:
    l1 = system.start(state.parent, descriptors, *more, "-incoming", _uri(system, state))
    try:
        deadline = Deadline.after(_RESTORE_SECONDS)
        while l1.qmp.command("query-status")["status"] == "inmigrate":
            deadline.check(f"restoring {system.name}")
            time.sleep(0.005)
        l1.qmp.command("cont")
    except EngineError as error:
        l1.child.wait(Deadline.after(0.5))
        said = l1.child.said
        l1.close()
        raise EngineError(f"{system.name} cannot be restored: {said or error}") from error
    except BaseException:
        l1.close()
        raise
    return l1


def _uri(system: System, state: Path) -> str:
    """Where a state goes to or comes from, in the words of a QEMU of that age."""
    numbers = re.match(r"(\d+)\.(\d+)", system.qemu.version)
    if numbers and (int(numbers[1]), int(numbers[2])) >= _FIRST_WITH_FILES:
        return f"file:{state}"
    reads = "cat >" if state.parent.name.startswith("draft-") else "cat"
    return f"exec:{reads} '{state}'"


def _room() -> str:
    return f"a state takes some 100 MiB: is there room in {folder()}? SVMCONF_CACHE moves it"


def _prune(home: Path) -> None:
    """Keep the few that were used last, and sweep drafts of processes that were killed; we hold the lock."""
    states = sorted((entry for entry in home.iterdir() if entry.is_dir()), key=lambda entry: -entry.stat().st_mtime)
    drafts = [entry for entry in states if entry.name.startswith("draft-")]
    for old in [*drafts, *[entry for entry in states if entry not in drafts][_KEPT:]]:
        with contextlib.suppress(OSError):
            shutil.rmtree(old)
