"""Writes an initramfs: a cpio archive of the kind ``newc``, which every Linux unpacks into its first file system.

The same content always gives the same bytes, so a hash of them can name what was booted.

>>> fs = Initramfs()
>>> fs.file("init", b"#!/bin/sh\\n")
>>> fs.link("bin/sh", "busybox")
>>> len(fs.encode()) % 512
0
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_TRAILER = "TRAILER!!!"
_BLOCK = 512


@dataclass(frozen=True)
class _Entry:
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


class Initramfs:
    """What the archive holds, by path. Paths are relative to the root; folders above them come by themselves."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}

    def file(self, path: str, content: bytes | Path, mode: int = 0o755) -> None:
        """A file, with its content or with that of a file of ours."""
        data = content.read_bytes() if isinstance(content, Path) else content
        self._put(path, _Entry(stat.S_IFREG | mode, data))

    def folder(self, path: str, mode: int = 0o755) -> None:
        """An empty folder."""
        self._put(path, _Entry(stat.S_IFDIR | mode))

    def link(self, path: str, target: str) -> None:
        """A symbolic link; ``target`` as it stands in the link."""
        self._put(path, _Entry(stat.S_IFLNK | 0o777, target.encode()))

    def device(self, path: str, major: int, minor: int, mode: int = 0o600) -> None:
        """A character device."""
        self._put(path, _Entry(stat.S_IFCHR | mode, device=(major, minor)))

    def tree(self, source: Path, into: str = "") -> None:
        """All that is below a folder of ours: files, links as they are, folders."""
        for path in sorted(source.rglob("*")):
            name = str(PurePosixPath(into) / path.relative_to(source))
            if path.is_symlink():
                self.link(name, str(path.readlink()))
            elif path.is_dir():
                self.folder(name)
            elif path.is_file():
                self.file(name, path, stat.S_IMODE(path.stat().st_mode))

    def encode(self) -> bytes:
        """The archive, not compressed."""
        archive = bytearray()
        for number, (path, entry) in enumerate(sorted(self._entries.items()), 1):
            archive += _encoded(number, path, entry)
        archive += _encoded(0, _TRAILER, _Entry(0))
        return bytes(archive) + bytes(-len(archive) % _BLOCK)

    def _put(self, path: str, entry: _Entry) -> None:
        name = path.strip("/")
        for parent in PurePosixPath(name).parents:
            if str(parent) != ".":
                self._entries.setdefault(str(parent), _Entry(stat.S_IFDIR | 0o755))
        if stat.S_ISDIR(entry.mode):
            self._entries.setdefault(name, entry)
        else:
            self._entries[name] = entry


def _encoded(number: int, path: str, entry: _Entry) -> bytes:
    name = path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    # inode, mode, uid, gid, links, mtime, size, device that it is on, device that it is, length of the name, checksum
    numbers = (number, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0, *entry.device, len(name), 0)
    head = b"070701" + b"".join(b"%08X" % n for n in numbers) + name
    return head + bytes(-len(head) % 4) + entry.data + bytes(-len(entry.data) % 4)
