"""The suite's files as pages with numbered lines, so that a case's source is a link wherever the site lies."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from harness import paths
from harness.run import slug

_PLACE = re.compile(r"(?P<file>[\w./+-]+\.py):(?P<line>\d+)")


@dataclass(frozen=True)
class Source:
    """A file of the suite: the name of its page, its own name, its lines."""

    page: str
    file: str
    lines: tuple[str, ...]


class Sources:
    """The files that cases are in, as far as this checkout has them."""

    def __init__(self, places: Iterable[str], root: Path = paths.ROOT) -> None:
        names = sorted({match["file"] for place in places if (match := _PLACE.fullmatch(place))})
        self._found = {name: found for name in names if (found := _read(root, name))}

    @property
    def all(self) -> list[Source]:
        """Every file."""
        return list(self._found.values())

    def link(self, place: str) -> str:
        """Where ``file:line`` is on the site, from its root; empty when this checkout does not have it."""
        match = _PLACE.fullmatch(place)
        source = self._found.get(match["file"]) if match else None
        if match is None or source is None or not 1 <= int(match["line"]) <= len(source.lines):
            return ""
        return f"src/{source.page}.html#L{match['line']}"


def _read(root: Path, name: str) -> Source | None:
    path = (root / name).resolve()
    if not path.is_relative_to(root) or not path.is_file():
        return None
    return Source(slug(name.removesuffix(".py")), name, tuple(path.read_text(encoding="utf-8").splitlines()))
