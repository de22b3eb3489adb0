"""Where things are in the cache, and whether what is there is whole.

::

    apt/SUITE/            private apt state: lists, no packages
    downloads/NAME/       .debs on their way; kept when a fetch is killed, so that the next one goes on
    drafts/NAME=...       being unpacked, or being removed; never used; swept by the next fetch
    trees/NAME/DIGEST/    ready: root/ and ready.json; appears in one rename
    locks/                one for each component and suite
    added.json            engines that a person registered
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import ValidationError

from harness import paths
from harness.engines.store.errors import EngineMissing, Stopped
from harness.engines.store.stamp import NAME as STAMP
from harness.engines.store.stamp import Kept, Stamp
from harness.errors import EngineError

_WAIT_SECONDS = 3600


def folder() -> Path:
    """Where engines are kept: below ``SVMCONF_CACHE``, or else the user's cache folder."""
    return paths.cache() / "engines"


@contextlib.contextmanager
def guard(name: str, stop: threading.Event | None = None, wait: float = _WAIT_SECONDS) -> Iterator[None]:
    """Nobody else, in whatever process, works on ``name`` meanwhile.

    :raises EngineError: somebody else still did after ``wait`` seconds.
    :raises Stopped: ``stop`` was set while waiting.
    """
    locks = folder() / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    lock = FileLock(locks / f"{name}.lock")
    until = time.monotonic() + wait
    while True:
        with contextlib.suppress(Timeout):
            lock.acquire(timeout=min(0.2, wait))
            break
        if stop is not None and stop.is_set():
            raise Stopped("stopped")
        if time.monotonic() >= until:
            raise EngineError(f"{name}: another process has been working on it for {wait:.0f} s")
    try:
        yield
    finally:
        lock.release()


def kept(name: str) -> list[Kept]:
    """Every version of a component in the cache, the newest first."""
    found = []
    for stamp in (folder() / "trees" / name).glob(f"*/{STAMP}"):
        with contextlib.suppress(OSError, ValidationError):
            one = Kept(stamp=Stamp.model_validate_json(stamp.read_bytes()), home=stamp.parent)
            found.append((stamp.stat().st_mtime_ns, one))
    return [one for _, one in sorted(found, key=lambda pair: -pair[0])]


def names() -> list[str]:
    """The components of which the cache has any version, whole or not."""
    return sorted(tree.name for tree in (folder() / "trees").glob("*") if any(tree.iterdir()))


@contextlib.contextmanager
def draft(name: str) -> Iterator[Path]:
    """A new folder to prepare something of a component in; gone afterwards, unless it was installed."""
    drafts = folder() / "drafts"
    drafts.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f"{name}=", dir=drafts))
    made.chmod(0o755)  # others may use a cache that is shared
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def install(prepared: Path, stamp: Stamp) -> None:
    """Put a draft (with ``root/`` in it) where it is used from: all of it, or nothing. What was there goes."""
    write(prepared / STAMP, stamp.model_dump_json(exclude_defaults=True))
    home = folder() / "trees" / stamp.name / stamp.digest
    home.parent.mkdir(parents=True, exist_ok=True)
    discard(home)
    prepared.rename(home)


def discard(home: Path) -> None:
    """Remove a tree so that no half of it is ever taken for a whole: out of the way first, then away."""
    if home.exists():
        with draft(home.parent.name) as grave:
            home.rename(grave / "old")


def clear(name: str, keep: str = "") -> int:
    """Remove a component's versions but the one with digest ``keep``; return how many there were."""
    with guard(name):
        homes = [home for home in (folder() / "trees" / name).glob("*") if home.name != keep]
        for home in homes:
            discard(home)
        shutil.rmtree(folder() / "downloads" / name, ignore_errors=True)
        return len(homes)


def clear_lists() -> None:
    """Remove the private apt states and all downloads."""
    for lists in (folder() / "apt").glob("*"):
        with guard(f"apt-{lists.name}"):
            shutil.rmtree(lists, ignore_errors=True)
    for left in (folder() / "downloads").glob("*"):
        with guard(left.name):
            shutil.rmtree(left, ignore_errors=True)


def sweep() -> None:
    """Remove what killed fetches left unfinished; leave alone what somebody works on."""
    for left in (folder() / "drafts").glob("*=*"):
        with contextlib.suppress(EngineError), guard(left.name.split("=")[0], wait=0):
            shutil.rmtree(left, ignore_errors=True)


def usable(name: str, digest: str) -> Kept:
    """The version of a component with that digest, or else the newest; raise :class:`EngineMissing` if not whole."""
    versions = sorted(kept(name), key=lambda one: one.stamp.digest != digest)
    if not versions:
        raise EngineMissing(f"engine {name} is not fetched", f"svmconf engines fetch {name}")
    if fault := versions[0].fault():
        raise EngineMissing(f"engine {name} is damaged: {fault}", f"svmconf engines fetch {name} repairs it")
    return versions[0]


def write(path: Path, content: str) -> None:
    """Write a file: all of it, or nothing."""
    handle, made = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(content)
            os.fchmod(handle, 0o644)
        Path(made).replace(path)
    except BaseException:
        Path(made).unlink(missing_ok=True)
        raise
