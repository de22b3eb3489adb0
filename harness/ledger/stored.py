"""Items that stay in their file until somebody asks for them: a ledger's evidence may be larger than memory."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

Item = TypeVar("Item")


class File:
    """A file, open for as long as this is held, and so readable even when it was moved or removed since."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._descriptor)

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Each whole line with the place where it begins; one that was cut short at the end is left out."""
        place = 0
        with os.fdopen(os.dup(self._descriptor), "rb") as file:
            file.seek(0)
            for line in file:
                if line.endswith(b"\n"):
                    yield place, line[:-1]
                place += len(line)

    def read(self, place: int, size: int) -> bytes:
        """So many bytes from there."""
        return os.pread(self._descriptor, size, place)


@dataclass(frozen=True, slots=True)
class Piece:
    """Where an item stands: its key, the file, place and size in bytes."""

    key: str
    file: File
    place: int
    size: int

    def read(self) -> bytes:
        """Its bytes."""
        return self.file.read(self.place, self.size)


class Stored(Mapping[str, Item]):
    """Items by key, in the order of the keys, each made anew from its bytes whenever it is asked for."""

    def __init__(self, pieces: Iterable[Piece], make: Callable[[Piece], Item]) -> None:
        """``make`` reads a piece and makes the item of it. Of pieces with the same key the last holds."""
        found = {piece.key: piece for piece in pieces}
        self._pieces = dict(sorted(found.items()))
        self._make = make

    def __getitem__(self, key: str) -> Item:
        return self._make(self._pieces[key])

    def __iter__(self) -> Iterator[str]:
        return iter(self._pieces)

    def __len__(self) -> int:
        return len(self._pieces)

    def __contains__(self, key: object) -> bool:
        return key in self._pieces  # without making it

    def raw(self, key: str) -> bytes:
        """The bytes that an item is made from."""
        return self._pieces[key].read()
