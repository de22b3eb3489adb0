"""Which versions of an engine a known deviation is about.

::

    versions = "5.2"                         every version that begins with these numbers: 5.2, 5.2.0, 5.2.3
    versions = "from 7.2 before 10.0.3"      a range; either end may be left open: "from 7.2", "before 9"
    versions = "5.2, from 10.0 before 10.2"  any of several
    versions = ""                            all

What counts of an engine's exact version, ``7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)``, is its first number with dots.

>>> Versions.parse("5.2, from 7.2 before 10.0.3").holds("7.2.22 (Debian 1:7.2+dfsg-7)")
True
>>> str(Versions.parse("from 7.2").without("10.0.13", known=["7.2.22", "10.0.13"]))
'from 7.2 before 10.0.13'
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Self

Number = tuple[int, ...]

_NUMBER = r"\d+(?:\.\d+)*"
_ITEM = re.compile(
    rf"(?P<exact>{_NUMBER})|from (?P<start>{_NUMBER})(?: before (?P<end>{_NUMBER}))?|before (?P<only>{_NUMBER})"
)


def number(version: str) -> Number:
    """The numbers of an engine's exact version; raise :class:`ValueError` when there are none."""
    match = re.search(_NUMBER, version)
    if match is None:
        raise ValueError(f"the version {version!r} has no number")
    return tuple(map(int, match[0].split(".")))


def _text(number: Number) -> str:
    return ".".join(map(str, number))


def _plain(number: Number) -> Number:
    """5.2 for 5.2.0."""
    return number if not number or number[-1] else _plain(number[:-1])


def _after(prefix: Number) -> Number:
    """The first number that does not begin with these."""
    return (*prefix[:-1], prefix[-1] + 1)


@dataclass(frozen=True)
class Span:
    """From ``start`` on, before ``end``; an empty tuple is an open end. ``exact`` if it was given as one prefix."""

    start: Number = ()
    end: Number = ()
    exact: bool = False

    def holds(self, one: Number) -> bool:
        """Whether a version lies in it."""
        return self.start <= one and (not self.end or one < self.end)

    def cut(self, one: Number, above: Number = ()) -> list[Span]:
        """What is left when ``one`` is taken out and what comes after it, up to ``above`` if that is given."""
        below = replace(self, end=one, exact=False)
        rest = [below] if _plain(self.start) < _plain(one) else []
        return [*rest, replace(self, start=above, exact=False)] if above else rest

    def __str__(self) -> str:
        if self.exact:
            return _text(self.start)
        start = f"from {_text(self.start)}" if self.start else ""
        end = f"before {_text(self.end)}" if self.end else ""
        return f"{start} {end}".strip()


@dataclass(frozen=True)
class Versions:
    """Any of some spans."""

    spans: tuple[Span, ...] = (Span(),)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what an expectation says; raise :class:`ValueError` when it is not of this grammar."""
        return cls(tuple(map(_span, text.split(",")))) if text else cls()

    @classmethod
    def of(cls, these: Iterable[str], others: Iterable[str]) -> Self:
        """The spans that hold these exact versions and none of the others, as far as those known reach.

        One version alone stands for itself; of several that were tried, the last is taken to go on.
        """
        chosen, rest = {number(version) for version in these}, {number(version) for version in others}
        known = sorted(chosen | rest)
        if len(known) == 1:
            return cls((Span(known[0], _after(known[0]), exact=True),))
        spans = []
        for at, one in enumerate(known):
            if one in chosen and (at == 0 or known[at - 1] not in chosen):
                end = next((other for other in known[at:] if other not in chosen), ())
                spans.append(Span(one if at else (), end))
        return cls(tuple(spans))

    def holds(self, version: str) -> bool:
        """Whether an engine's exact version is meant."""
        return any(span.holds(number(version)) for span in self.spans)

    def without(self, version: str, known: Collection[str]) -> Versions:
        """The same but for a version that is mended, and those after it until the next that is known to deviate."""
        one = number(version)
        later = sorted(n for n in map(number, known) if n > one)
        spans: list[Span] = []
        for span in self.spans:
            above = next((n for n in later if span.holds(n)), ())
            spans += span.cut(one, above) if span.holds(one) else [span]
        return Versions(tuple(spans))

    def __bool__(self) -> bool:
        return bool(self.spans)

    def __str__(self) -> str:
        return ", ".join(map(str, self.spans))


def _span(text: str) -> Span:
    match = _ITEM.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"'{text.strip()}' is no range of versions: write 5.2, or from 7.2 before 10.0.3")
    if match["exact"]:
        prefix = number(match["exact"])
        return Span(prefix, _after(prefix), exact=True)
    start, end = (number(found) if found else () for found in (match["start"], match["end"] or match["only"]))
    if end and end <= start:
        raise ValueError(f"'{text.strip()}' holds no version")
    return Span(start, end)
