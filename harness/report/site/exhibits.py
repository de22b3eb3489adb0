"""The pieces of evidence that the site shows: of many machines that showed the same, one; of very many, the worst.

A ledger holds tens of thousands of them; who wants another one finds it there by its id.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from harness.lab.seen import Seen
from harness.lab.show import exit_text
from harness.ledger import Entry, Evidence, Ledger, Verdict
from harness.machine.vmcb import Vmcb
from harness.observation import Event, Observation
from harness.report.evidence import attachments
from harness.report.matrix import WORST_FIRST
from harness.report.provenance import told
from harness.run import slug

PAGES = 300
"""How many boots get a page of their own, and their VMCBs a place in the viewer."""

LONGEST = 60_000
"""How many characters of a text are shown."""

_VMRUNS = 4  # of a boot: the first ones and the last
_VMRUNS_OF_PROGRAM = 8


@dataclass(frozen=True)
class Dump:
    """A VMCB at a VMRUN and, if the machine came back, after it."""

    label: str
    before: bytes
    after: bytes | None


@dataclass(frozen=True)
class Text:
    """A named piece of evidence; ``left_out`` is how many characters are not shown."""

    name: str
    text: str
    left_out: int = 0


@dataclass(frozen=True)
class Exhibit:
    """What a machine showed: ``summary`` in a line, and what it did, for a program step by step.

    ``page`` is the name of the page with all of it, for a boot, or a program with VMRUNs, that has one.
    """

    id: str
    summary: str
    steps: str = ""
    page: str = ""
    dumps: bool = False


@dataclass(frozen=True)
class Boot:
    """A boot that gets a page. ``title`` says on which processor what was booted, and what it was told."""

    page: str
    title: str
    entry: Entry
    texts: tuple[Text, ...]
    dumps: tuple[Dump, ...]


class Exhibits:
    """Makes exhibits of a ledger's evidence, each once."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._made: dict[str, Exhibit | None] = {}
        self._pages: set[str] = set()
        self.boots: list[Boot] = []

    def choose(self, entries: Iterable[Entry]) -> None:
        """Make those that stand for these entries: when there are more boots than pages, bad news come first."""
        rank = {verdict: number for number, verdict in enumerate(WORST_FIRST)}
        for entry in sorted(entries, key=lambda entry: (rank[entry.verdict], entry.case)):
            if entry.evidence and entry.evidence not in self._made:
                evidence = self._ledger.evidence.get(entry.evidence)
                self._made[entry.evidence] = self._make(entry, evidence) if evidence else None

    def of(self, entry: Entry) -> Exhibit | None:
        """What an entry judged, if there is evidence of it and it was chosen."""
        return self._made.get(entry.evidence)

    def _make(self, entry: Entry, evidence: Evidence) -> Exhibit | None:
        if evidence.seen is not None:
            return self._program(entry, evidence, evidence.seen)
        return self._boot(entry, evidence, evidence.observation) if evidence.observation else None

    def _boot(self, entry: Entry, evidence: Evidence, seen: Observation) -> Exhibit:
        vmruns = sum(event.vmcb is not None for event in seen.trace)
        parts = [str(seen.ended), f"outcome {seen.outcome}" if seen.outcome else ""]
        parts += [f"{len(seen.trace)} sensitive instructions", f"{vmruns} VMRUN" + ("s" if vmruns != 1 else "")]
        summary = ", ".join(filter(None, parts))
        if len(self.boots) == PAGES:
            return Exhibit(evidence.id, summary)
        texts = tuple(_cut(name, text) for name, text in attachments(self._of(evidence), entry))
        dumps = tuple(_dumps(seen))
        self.boots.append(Boot(self._page(evidence.id), _title(evidence, seen), entry, texts, dumps))
        return Exhibit(evidence.id, summary, page=self.boots[-1].page, dumps=bool(dumps))

    def _program(self, entry: Entry, evidence: Evidence, seen: Seen) -> Exhibit:
        texts = tuple(_cut(name, text) for name, text in attachments(self._of(evidence), entry))
        steps = next((one.text for one in texts if one.name == "steps"), "")
        dumps = tuple(_dumps_of(seen))
        if not dumps or len(self.boots) == PAGES:
            return Exhibit(evidence.id, str(seen.ended), steps)
        self.boots.append(Boot(self._page(evidence.id), f"{seen.cpu}, {_case(entry)}", entry, texts, dumps))
        return Exhibit(evidence.id, str(seen.ended), steps, page=self.boots[-1].page, dumps=True)

    def _of(self, evidence: Evidence) -> Ledger:
        """A ledger of this evidence alone, which is not to be read twice."""
        return self._ledger.model_copy(update={"evidence": {evidence.id: evidence}})

    def _page(self, id: str) -> str:
        """A file name of its own."""
        name = slug(id)
        while name in self._pages:
            name += "_"
        self._pages.add(name)
        return name


def _title(evidence: Evidence, seen: Observation) -> str:
    asked = seen.boot
    parts = [seen.cpu, f"guest {asked.guest}" if asked.guest else "", asked.name, *asked.words]
    return ", ".join(filter(None, (*parts, *map(str, told(evidence)))))


def _case(entry: Entry) -> str:
    """The name of a case's function, for a program, which has none of its own."""
    return entry.function.rpartition("::")[2]


def _cut(name: str, text: str) -> Text:
    return Text(name, text[:LONGEST], max(0, len(text) - LONGEST))


def _dumps(seen: Observation) -> Iterable[Dump]:
    vmruns = [(number, event) for number, (event, _) in enumerate(seen.vmruns(), 1)]
    shown = vmruns if len(vmruns) <= _VMRUNS else [*vmruns[: _VMRUNS - 1], vmruns[-1]]
    for number, event in shown:
        assert event.vmcb is not None
        yield Dump(f"VMRUN {number} at {event.where}{_came_back(event)}", event.vmcb, event.vmcb_after)
    if seen.vmcb is not None:
        yield Dump("at the end", seen.vmcb, None)


def _dumps_of(seen: Seen) -> Iterable[Dump]:
    places = [
        place
        for place, step in enumerate(seen.program.steps[: len(seen.steps)])
        if step.vmcb is not None and step.vmcb in seen.program.watches
    ]
    for vmrun in map(seen.vmrun_at, places[:_VMRUNS_OF_PROGRAM]):
        yield Dump(f"{vmrun.name}: {exit_text(vmrun)}", vmrun.before.data, vmrun.after.data)


def _came_back(event: Event) -> str:
    if event.vmcb_after is None:
        return ", did not come back"
    return f", #VMEXIT {Vmcb(event.vmcb_after)['exitcode']:#x}"


NOTHING_SEEN = (Verdict.SKIP, Verdict.NOT_RUN)
"""Verdicts of entries whose evidence, if there is any, shows nothing of the requirement."""
