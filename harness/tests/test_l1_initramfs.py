"""The cpio archive, read back by a reader of its own: what Linux makes of it is seen when a system boots."""

from __future__ import annotations

import stat
import struct
from pathlib import Path

from harness.machine.l1.initramfs import Initramfs

Entries = dict[str, tuple[int, bytes, tuple[int, int]]]


def unpack(archive: bytes) -> Entries:
    """Mode, content and device number of each entry, as the kernel's documentation of the format says."""
    entries: Entries = {}
    at = 0
    while True:
        assert at % 4 == 0
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        mode, size, name_size = fields[1], fields[6], fields[11]
        start = at + 110
        name = archive[start : start + name_size - 1].decode()
        assert archive[start + name_size - 1] == 0
        data = (start + name_size + 3) & ~3
        if name == "TRAILER!!!":
            return entries
        entries[name] = (mode, archive[data : data + size], (fields[9], fields[10]))
        at = (data + size + 3) & ~3


def test_holds_what_was_put_in(tmp_path: Path) -> None:
    source = tmp_path / "program"
    source.write_bytes(struct.pack("<I", 7) + b"odd")
    fs = Initramfs()
    fs.file("init", source)
    fs.file("etc/name", b"x", 0o644)
    fs.link("bin/sh", "busybox")
    fs.device("dev/console", 5, 1)
    fs.folder("proc")
    entries = unpack(fs.encode())
    assert list(entries) == ["bin", "bin/sh", "dev", "dev/console", "etc", "etc/name", "init", "proc"]
    assert entries["init"] == (stat.S_IFREG | 0o755, source.read_bytes(), (0, 0))
    assert entries["etc/name"][0] == stat.S_IFREG | 0o644
    assert entries["bin/sh"][:2] == (stat.S_IFLNK | 0o777, b"busybox")
    assert entries["dev/console"] == (stat.S_IFCHR | 0o600, b"", (5, 1))
    assert stat.S_ISDIR(entries["proc"][0])


def test_folders_come_before_what_is_in_them() -> None:
    fs = Initramfs()
    fs.file("a/b/c", b"")
    fs.file("a-first", b"")
    names = list(unpack(fs.encode()))
    assert names.index("a") < names.index("a/b") < names.index("a/b/c")


def test_same_content_same_bytes() -> None:
    one, other = Initramfs(), Initramfs()
    one.file("x", b"1")
    one.file("y/z", b"2")
    other.file("y/z", b"2")
    other.file("x", b"1")
    assert one.encode() == other.encode()


def test_takes_a_folder_of_ours(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "libc.so.6").write_bytes(b"elf")
    (tmp_path / "lib" / "libc.so").symlink_to("libc.so.6")
    fs = Initramfs()
    fs.tree(tmp_path, "opt")
    entries = unpack(fs.encode())
    assert entries["opt/lib/libc.so.6"][1] == b"elf"
    assert entries["opt/lib/libc.so"][1] == b"libc.so.6"
