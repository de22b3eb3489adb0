"""What of the unpacked packages an engine needs: the files that its recipe names, and the libraries that those load."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from elftools.common.exceptions import ELFError
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile

_LIBRARIES = ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu", "usr/lib", "lib")
_BELOW = ("pulseaudio",)
_LOADER = ("ld-linux-x86-64.so.2", "ld-*.so")
_LOADED_LATER = ("libgcc_s.so.1",)
"""glibc loads it when a thread is cancelled, without a DT_NEEDED."""


def needed(root: Path, globs: tuple[str, ...]) -> set[Path]:
    """The files and links (relative paths) below ``root`` to keep."""
    kept: set[Path] = set()
    todo = [path for glob in globs for path in root.glob(glob) if path.is_symlink() or not path.is_dir()]
    programs = any(_wants(path) for path in todo)
    todo += [path for name in (*_LOADER, *_LOADED_LATER) for path in _libraries(root, name) if programs]
    while todo:
        path = todo.pop()
        relative = path.relative_to(root)
        if relative in kept:
            continue
        kept.add(relative)
        if path.is_symlink():
            target = _target(root, path)
            todo += [target] if target else []
        else:
            todo += [library for name in _wants(path) for library in _libraries(root, name)]
    return kept


def library_folders(root: Path) -> list[Path]:
    """Where below ``root`` the loader has to look."""
    below = [f"{_LIBRARIES[0]}/{name}" for name in _BELOW]
    return [root / place for place in (*_LIBRARIES, *below) if (root / place).is_dir()]


def loader(root: Path) -> Path | None:
    """The dynamic loader below ``root``: a real file, for a link may lead out of the tree."""
    found = (path for name in _LOADER for place in library_folders(root) for path in place.glob(name))
    return next((path for path in found if path.is_file() and not path.is_symlink()), None)


def _libraries(root: Path, name: str) -> Iterator[Path]:
    for place in library_folders(root):
        yield from (path for path in place.glob(name))


def _target(root: Path, link: Path) -> Path | None:
    """What a link leads to, an absolute one being meant from ``root``; nothing if it leads out of the tree."""
    goal = link.readlink()
    path = root / str(goal).lstrip("/") if goal.is_absolute() else link.parent / goal
    path = Path(*_plain(path.parts))
    inside = path.is_relative_to(root) and (path.is_symlink() or path.is_file())
    return path if inside else None


def _plain(parts: tuple[str, ...]) -> list[str]:
    plain: list[str] = []
    for part in parts:
        if part == "..":
            plain.pop()
        else:
            plain.append(part)
    return plain


def _wants(path: Path) -> list[str]:
    """The names of the libraries that a program or library loads; none if it is neither."""
    if path.is_symlink() or not path.is_file():
        return []
    with path.open("rb") as file:
        if file.read(4) != b"\x7fELF":
            return []
        try:
            elf = ELFFile(file)
            dynamic = elf.get_section_by_name(".dynamic")
            if not isinstance(dynamic, DynamicSection):
                return []
            tags: Iterator[Any] = dynamic.iter_tags("DT_NEEDED")
            return [str(tag.needed) for tag in tags]
        except ELFError:
            return []
