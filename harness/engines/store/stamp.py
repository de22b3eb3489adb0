"""What a complete tree was like when it was found good, and whether it still is."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pydantic import BaseModel, ConfigDict

NAME = "ready.json"


class File(BaseModel):
    """One file as it was when it was found good: ``size`` in bytes, ``mtime`` in seconds; ``link`` for links."""

    model_config = ConfigDict(frozen=True)

    path: str
    size: int = 0
    mtime: int = 0
    sha256: str = ""
    link: str = ""

    @classmethod
    def of(cls, root: Path, path: Path) -> File:
        """Read it."""
        relative = str(path.relative_to(root))
        if path.is_symlink():
            return cls(path=relative, link=str(path.readlink()))
        stat = path.stat()
        return cls(path=relative, size=stat.st_size, mtime=int(stat.st_mtime), sha256=sha256(path))

    def fault(self, root: Path, thorough: bool) -> str:
        """What is wrong with it now, or nothing. Its content is read only if ``thorough``, or if its time differs."""
        path = root / self.path
        try:
            if self.link:
                return "" if str(path.readlink()) == self.link else f"{self.path} leads elsewhere"
            stat = path.lstat()
            if stat.st_size != self.size:
                return f"{self.path} has {stat.st_size} bytes, not {self.size}"
            suspect = thorough or int(stat.st_mtime) != self.mtime
            return f"{self.path} has another content" if suspect and sha256(path) != self.sha256 else ""
        except OSError as error:
            return f"{self.path}: {error.strerror}"


class Stamp(BaseModel):
    """Says that a tree is complete.

    :param version: the exact one, for reports.
    :param instead: packages that stand in for those of the lock file which the mirror has no more, a line each.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    family: str
    digest: str
    version: str
    files: tuple[File, ...]
    instead: tuple[str, ...] = ()

    @classmethod
    def of(cls, root: Path, name: str, family: str, digest: str, version: str, instead: tuple[str, ...] = ()) -> Stamp:
        """Take stock of a tree."""
        paths = sorted(path for path in root.rglob("*") if path.is_symlink() or path.is_file())
        files = tuple(File.of(root, path) for path in paths)
        return cls(name=name, family=family, digest=digest, version=version, files=files, instead=instead)

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


def sha256(path: Path) -> str:
    """A file's checksum."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
