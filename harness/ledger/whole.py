"""A whole ledger: what was planned, and what came of each case."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from pydantic import BaseModel, SkipValidation

from harness.ledger.lines import Entry, Evidence, Header, Verdict


class Ledger(BaseModel):
    """A whole ledger. ``elsewhere`` are the cases that belong to shards which are not in it.

    All is in memory but the evidence of one that was read: that stays in the file, and is read when it is asked for.
    """

    header: Header
    planned: list[str]
    elsewhere: list[str] = []
    evidence: SkipValidation[Mapping[str, Evidence]]
    entries: list[Entry]

    @property
    def counts(self) -> dict[Verdict, int]:
        """How many of each verdict; they add up to the number planned."""
        found = Counter(entry.verdict for entry in self.entries)
        return {verdict: found[verdict] for verdict in Verdict}

    @property
    def good(self) -> bool:
        """Whether all is as it must be."""
        return all(entry.verdict.good for entry in self.entries)

    def arithmetic(self) -> str:
        """``120 planned = 118 pass + 2 skip + ...``: the sum that every report shows."""
        parts = " + ".join(f"{count} {verdict}" for verdict, count in self.counts.items() if count)
        other = f" ({len(self.elsewhere)} more in other shards)" if self.elsewhere else ""
        return f"{len(self.planned)} planned = {parts or 'nothing'}{other}"


def lost_entry(case: str, header: Header, why: str = "its worker ended before it left a verdict") -> Entry:
    """What stands for a case that was planned and left no verdict."""
    function, _, setting = case.partition("[")
    engine, _, rest = setting.removesuffix("]").partition(":")
    cpu, _, variant = rest.partition(":")
    version = next((e.version for e in header.engines if e.name == engine), "")
    return Entry(
        case=case,
        function=function,
        claim="",
        source="",
        requirements=[],
        engine=engine,
        engine_version=version,
        cpu=cpu,
        variant=variant,
        verdict=Verdict.NOT_RUN,
        reason=why,
        started=0.0,
        seconds=0.0,
    )
