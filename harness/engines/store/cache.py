"""Where things are in the cache, and whether what is there is whole.

::

    apt/SUITE/            private apt state: lists, no packages
    downloads/NAME/       .debs on their way; kept when a fetch is killed, so that the next one goes on
    drafts/NAME-...       being unpacked; never used, swept by the next fetch of that component
    trees/NAME/DIGEST/    ready: root/ and ready.json; appears in one rename
    locks/                one for each component and suite
    added.json            engines that a person registered
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import platformdirs
from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError

from harness.errors import EngineError

_STAMP = "ready.json"


def folder() -> Path:
    """Where engines are kept: below ``SVMCONF_CACHE``, or else the user's cache folder."""
    base = os.environ.get("SVMCONF_CACHE") or platformdirs.user_cache_dir("svmconf")
    return Path(base).expanduser().absolute() / "engines"


@contextlib.contextmanager
def guard(name: str, wait: float = 3600) -> Iterator[None]:
    """Nobody else, in whatever process, works on ``name`` meanwhile; wait for that many seconds at most."""
    locks = folder() / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(locks / f"{name}.lock", timeout=wait):
            yield
    except Timeout as error:
        raise EngineError(f"{name}: another process has been working on it for {wait:.0f} s") from error


class File(BaseModel):
    """One file of an unpacked tree as it was when it was found good. ``size`` in bytes; ``link`` for symbolic links."""

    model_config = ConfigDict(frozen=True)

    path: str
    size: int = 0
    mtime_ns: int = 0
    sha256: str = ""
    link: str = ""

    @classmethod
    def of(cls, root: Path, path: Path) -> File:
        """Read it."""
        relative = str(path.relative_to(root))
        if path.is_symlink():
            return cls(path=relative, link=str(path.readlink()))
        stat = path.stat()
        return cls(path=relative, size=stat.st_size, mtime_ns=stat.st_mtime_ns, sha256=sha256(path))

    def fault(self, root: Path, thorough: bool) -> str:
        """What is wrong with it now, or nothing. Not thorough: by size and time alone."""
        path = root / self.path
        try:
            if self.link:
                return "" if str(path.readlink()) == self.link else f"{self.path} leads elsewhere"
            stat = path.stat(follow_symlinks=False)
            if (stat.st_size, stat.st_mtime_ns) != (self.size, self.mtime_ns):
                return f"{self.path} was changed since it was fetched"
            return f"{self.path} has another content" if thorough and sha256(path) != self.sha256 else ""
        except OSError as error:
            return f"{self.path}: {error.strerror}"


class Stamp(BaseModel):
    """Says that a tree is complete. ``version`` is the exact one, for reports."""

    model_config = ConfigDict(frozen=True)

    name: str
    family: str
    digest: str
    version: str
    files: tuple[File, ...]

    @property
    def size(self) -> int:
        """What it takes, in bytes."""
        return sum(file.size for file in self.files)


class Kept(BaseModel):
    """A component in the cache: its stamp, and where it is."""

    model_config = ConfigDict(frozen=True)

    stamp: Stamp
    home: Path

    @property
    def root(self) -> Path:
        """The unpacked tree."""
        return self.home / "root"

    def fault(self, thorough: bool = False) -> str:
        """What is wrong with its files, or nothing. Thorough: every checksum is taken."""
        return next(filter(None, (file.fault(self.root, thorough) for file in self.stamp.files)), "")


def kept(name: str) -> list[Kept]:
    """Every version of a component in the cache, the newest first."""
    found = []
    for stamp in (folder() / "trees" / name).glob(f"*/{_STAMP}"):
        with contextlib.suppress(OSError, ValidationError):
            found.append(
                (stamp.stat().st_mtime_ns, Kept(stamp=Stamp.model_validate_json(stamp.read_bytes()), home=stamp.parent))
            )
    return [one for _, one in sorted(found, key=lambda pair: -pair[0])]


def place(name: str, digest: str) -> Path:
    """Where a component's tree is, or will be."""
    return folder() / "trees" / name / digest


def stamp(root: Path, name: str, family: str, digest: str, version: str) -> Stamp:
    """Take stock of a tree that is complete."""
    paths = sorted(path for path in root.rglob("*") if path.is_symlink() or path.is_file())
    return Stamp(
        name=name, family=family, digest=digest, version=version, files=tuple(File.of(root, path) for path in paths)
    )


def install(draft: Path, stamp: Stamp) -> None:
    """Put a draft (with ``root/`` in it) where it is used from: all of it, or nothing. What was there goes."""
    (draft / _STAMP).write_text(stamp.model_dump_json(exclude_defaults=True))
    home = place(stamp.name, stamp.digest)
    home.parent.mkdir(parents=True, exist_ok=True)
    discard(home)
    draft.rename(home)


def discard(home: Path) -> None:
    """Remove a tree so that no half of it is ever taken for a whole: out of the way first, then away."""
    if home.exists():
        grave = folder() / "drafts" / f"{home.parent.name}-{home.name}-{os.getpid()}"
        grave.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(grave, ignore_errors=True)
        home.rename(grave)
        shutil.rmtree(grave)


def sweep(name: str) -> None:
    """Remove what a killed fetch or removal of this component left; to be called under its guard."""
    for draft in (folder() / "drafts").glob(f"{name}-*"):
        if draft.name.rsplit("-", 2)[0] == name:
            shutil.rmtree(draft)


def sha256(path: Path) -> str:
    """A file's checksum."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
