"""What an exit costs our hypervisor, and Linux KVM beside it, as rows of a bench: instructions, not time."""

from __future__ import annotations

from harness.boot import Boot
from harness.engines.base import Engine
from harness.engines.kvm_in_tcg import KvmInTcg
from harness.errors import SvmconfError
from harness.hypervisors.manifest import Manifest
from harness.hypervisors.ours import our_manifest
from harness.model import exits
from harness.trace import peer
from harness.trace.count import count, lacks
from harness.trace.passage import Passage
from harness.trace.tally import Row, Tally, reason

PEER = "kvm-6.12"
MMIO, NEW_PAGE = "NPF, local APIC", "NPF, new page"
_KINDS = ("CPUID", "RDMSR", "WRMSR", "VMMCALL", MMIO, NEW_PAGE)
_ALL_DAY, _SMALL = "pc.exits", "mixed"
_ROUNDS = 200
_FEW = 10
_CPUID_BAR, _PART = 300, 5
"""Instructions for CPUID; the others may cost this part of what they cost KVM."""


def kind(passage: Passage) -> str:
    """The reason; nested page faults by what they are: an access to the local APIC, or to memory."""
    name, after = reason(passage), passage.after
    if after is None or after["exitcode"] != exits.NPF:
        return name
    return MMIO if after["exitinfo2"] & ~0xFFF == peer.LOCAL_APIC else NEW_PAGE


def rows(engine: Engine, cpu: str, name: str = PEER) -> list[tuple[str, str, str]]:
    """What, result and bar of each kind of exit: median instructions from #VMEXIT to the next VMRUN, that included.

    Ours on ``engine``, the peer of that name on its own L0, where it is at hand. The bars are for a guest that has the
    machine almost for itself, as the peer's has; the small guests, which are all watched, follow for comparison.
    """
    why = lacks(engine)
    if why:
        return [("instructions per exit", f"not counted: {why}", "")]
    manifest = our_manifest()
    ours = _counted(engine, manifest, Boot(guest=_ALL_DAY, count=_ROUNDS), cpu)
    small = _counted(engine, manifest, Boot(guest=_SMALL, count=_ROUNDS), cpu)
    try:
        theirs = _peer(name)
    except SvmconfError as error:
        theirs = {}
        name = f"{name} is not at hand: {error}"
    return [
        (f"instructions per exit (median), guest {_ALL_DAY}", f"ours / {name}", ""),
        *(_row(one, ours.get(one), theirs.get(one)) for one in _KINDS),
        (f"the same, guest {_SMALL}", "ours", ""),
        *((f"  {one}", _median(row), "") for one, row in small.items() if one in _KINDS and row.exits >= _FEW),
    ]


def _counted(engine: Engine, manifest: Manifest, boot: Boot, cpu: str) -> dict[str, Row]:
    tally = Tally(kind=kind)
    count(engine, manifest, boot, cpu, tally.add)
    return tally.rows


def _peer(name: str) -> dict[str, Row]:
    tally = Tally(kind=kind)
    engine = KvmInTcg(name)
    try:
        peer.count(engine, tally.add)
    finally:
        engine.close()
    return tally.rows


def _row(one: str, ours: Row | None, theirs: Row | None) -> tuple[str, str, str]:
    cost = theirs.host.median if theirs and theirs.host else None
    bar = _CPUID_BAR if one == "CPUID" else cost and cost // _PART
    return f"  {one}", f"{_median(ours)} / {_median(theirs)}", f"{bar:,}" if bar else ""


def _median(row: Row | None) -> str:
    """With the number of exits where there were only a few, whose median is an accident."""
    if row is None or row.host is None:
        return "-"
    return f"{row.host.median:,}" + (f" ({row.exits} only)" if row.exits < _FEW else "")
