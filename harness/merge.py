"""Puts the ledgers of several runs together: the shards of one, or runs of other engines on other machines.

The sum closes afterwards, too: what belongs to a shard that nobody brought is *not-run*, and names the shard.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness import circumstances
from harness import ledger as ledgers
from harness.errors import SvmconfError
from harness.ledger import EngineLine, Entry, Evidence, Header, Ledger
from harness.shard import Shard

_NAMED = 3  # how many contradictions a message names


class Contradiction(SvmconfError):
    """Two ledgers do not agree on what one of them would have to hide."""


def merge(parts: Sequence[Ledger], run: str, newest: bool = False) -> Ledger:
    """One ledger of several, for a run of that name.

    :param newest: where two have different verdicts on the same case, the later one holds.
    :raises Contradiction: they are about different hypervisors, about different versions of an engine, or, without
        ``newest``, have different verdicts on the same case.
    """
    header = _header([part.header for part in parts], run)
    chosen = _choose(parts, newest)
    evidence: dict[str, Evidence] = {}
    entries = {}
    for case, (part, entry) in chosen.items():
        entries[case] = _with_evidence(entry, part, evidence)
    known = {entry.function: entry for entry in entries.values() if not entry.lost}
    for case, shard in _missing(parts).items():
        entries.setdefault(
            case, ledgers.lost_entry(case, header, f"shard {shard} is missing: nobody brought its ledger")
        )
    return Ledger(
        header=header,
        planned=sorted(entries),
        evidence=dict(sorted(evidence.items())),
        entries=[_named(entries[case], known) for case in sorted(entries)],
    )


def apart(parts: Sequence[Ledger]) -> list[Ledger]:
    """The same ledgers, engines of one name and several versions told apart: ``qemu-system@7.2.22``."""
    versions: dict[str, set[str]] = {}
    for part in parts:
        for engine in part.header.engines:
            versions.setdefault(engine.name, set()).add(engine.version)

    def name(engine: EngineLine) -> str:
        if len(versions[engine.name]) == 1:
            return engine.name
        whole = len({ledgers.number(version) for version in versions[engine.name]}) < len(versions[engine.name])
        return f"{engine.name}@{engine.version if whole else ledgers.number(engine.version)}"

    return [renamed(part, {engine.name: name(engine) for engine in part.header.engines}) for part in parts]


def renamed(part: Ledger, names: dict[str, str]) -> Ledger:
    """A ledger whose engines have other names, by their old ones."""

    def case(id: str) -> str:
        function, bracket, setting = id.partition("[")
        engine = setting.removesuffix("]").partition(":")[0]
        return f"{function}{bracket}{names.get(engine, engine)}{setting.removeprefix(engine)}"

    header = part.header.model_copy(
        update={"engines": [e.model_copy(update={"name": names.get(e.name, e.name)}) for e in part.header.engines]}
    )
    return Ledger(
        header=header,
        planned=sorted(map(case, part.planned)),
        elsewhere=sorted(map(case, part.elsewhere)),
        evidence=part.evidence,
        entries=[
            e.model_copy(update={"case": case(e.case), "engine": names.get(e.engine, e.engine)}) for e in part.entries
        ],
    )


def _header(headers: list[Header], run: str) -> Header:
    for what in ("hypervisor", "defect"):
        if len(found := {getattr(header, what) or "none" for header in headers}) > 1:
            raise Contradiction(
                f"runs of different {what}s do not go together: {', '.join(sorted(found))}", "svmconf diff compares two"
            )
    engines: dict[str, EngineLine] = {}
    for header in headers:
        for engine in header.engines:
            known = engines.setdefault(engine.name, engine)
            if known.version != engine.version:
                raise Contradiction(
                    f"{engine.name} is {known.version} in one run and {engine.version} in {header.run}",
                    "two versions are two engines: take them by name (svmconf engines list), or see svmconf diff",
                )
            cpus = list(dict.fromkeys((*known.cpus, *engine.cpus)))
            engines[engine.name] = known.model_copy(update={"cpus": cpus})
    return Header(
        run=run,
        started=min(header.started for header in headers),
        command=circumstances.command(),
        **{what: _each(getattr(h, what) for h in headers) for what in ("svmconf", "python", "machine", "git")},
        seed=headers[0].seed if len({header.seed for header in headers}) == 1 else None,
        hypervisor=headers[0].hypervisor,
        defect=headers[0].defect,
        engines=list(engines.values()),
        unavailable={
            name: why for header in headers for name, why in header.unavailable.items() if name not in engines
        },
        shards=sorted({shard for header in headers for shard in header.shards}),
    )


def _each(values: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(filter(None, values)))


def _choose(parts: Sequence[Ledger], newest: bool) -> dict[str, tuple[Ledger, Entry]]:
    """For each case the entry that holds, with its ledger; one that was lost gives way to any other."""
    chosen: dict[str, tuple[Ledger, Entry]] = {}
    against: list[str] = []
    for part in parts:
        for entry in part.entries:
            rival, other = chosen.setdefault(entry.case, (part, entry))
            if not (entry.lost or other.lost) and entry.verdict is not other.verdict:
                runs = f"{other.verdict} in {rival.header.run}, {entry.verdict} in {part.header.run}"
                against.append(f"{entry.case}: {runs}")
            if (entry.started, part.header.started) > (other.started, rival.header.started):
                chosen[entry.case] = part, entry
    if against and not newest:
        more = f"; and {len(against) - _NAMED} more" if len(against) > _NAMED else ""
        raise Contradiction(
            f"the same case with different verdicts: {'; '.join(against[:_NAMED])}{more}",
            "--prefer newest takes the later verdict",
        )
    return chosen


def _with_evidence(entry: Entry, part: Ledger, kept: dict[str, Evidence]) -> Entry:
    """The entry, with its evidence among those kept; machines that ran the same thing get ids of their own."""
    found = part.evidence.get(entry.evidence)
    if found is None:
        return entry
    id, number = found.id, 1
    while kept.setdefault(id, found.model_copy(update={"id": id})) != found.model_copy(update={"id": id}):
        number += 1
        id = f"{found.id}.{number}"
    return entry.model_copy(
        update={"evidence": id, "artefacts": [f"{part.header.run}/{path}" for path in entry.artefacts]}
    )


def _missing(parts: Sequence[Ledger]) -> dict[str, Shard]:
    """The cases that belong to a shard that is not among the ledgers, and the shard."""
    counts = {case: Shard.parse(s).count for part in parts for case in part.elsewhere for s in part.header.shards}
    planned = {case for part in parts for case in part.planned}
    return {case: Shard.of(case, count) for case, count in counts.items() if case not in planned}


def _named(entry: Entry, known: dict[str, Entry]) -> Entry:
    """A lost entry with what is known of its case from other settings."""
    like = known.get(entry.function)
    if like is None or not entry.lost:
        return entry
    return entry.model_copy(update={"claim": like.claim, "source": like.source, "requirements": like.requirements})
