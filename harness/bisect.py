"""Finds the first engine of a row that observed something else than the first one, asking as few as possible."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Generic, TypeVar

Seen = TypeVar("Seen")


@dataclass(frozen=True)
class Found(Generic[Seen]):
    """What came out: what each engine that was asked observed, in the order of the row.

    ``changes`` are neighbours in the row, before and after each change that was found; none when the ends agree (and
    nobody asked about all between). ``strays`` are engines that are unlike both ends, so that there is more than one
    change.
    """

    seen: dict[str, Seen]
    changes: tuple[tuple[str, str], ...]
    strays: tuple[str, ...]

    @property
    def monotonic(self) -> bool:
        """Whether, as far as was asked, there is one change at most."""
        return len(self.changes) <= 1 and not self.strays


def bisect(row: Sequence[str], ask: Callable[[str], Seen], every: bool = False) -> Found[Seen]:
    """Look for the first change in a row of at least two engines, the ends first; with ``every`` ask all of them."""
    seen = {name: ask(name) for name in (row if every else (row[0], row[-1]))}
    changes: list[tuple[str, str]]
    if every:
        changes = [(a, b) for a, b in pairwise(row) if seen[a] != seen[b]]
    elif seen[row[0]] == seen[row[-1]]:
        changes = []
    else:
        before, after = 0, len(row) - 1
        while after - before > 1:
            middle = (before + after) // 2
            seen[row[middle]] = ask(row[middle])
            if seen[row[middle]] == seen[row[0]]:
                before = middle
            else:
                after = middle
        changes = [(row[before], row[after])]
    ends = seen[row[0]], seen[row[-1]]
    return Found(
        seen={name: seen[name] for name in row if name in seen},
        changes=tuple(changes),
        strays=tuple(name for name in row if name in seen and seen[name] not in ends),
    )
