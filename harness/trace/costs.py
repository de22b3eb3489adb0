"""What an exit costs our hypervisor, and Linux KVM beside it, as rows of a bench: instructions, not time."""

from __future__ import annotations

from harness import build
from harness.boot import Boot
from harness.engines.base import Engine
from harness.errors import SvmconfError
from harness.hypervisors.manifest import load
from harness.trace.count import count, lacks
from harness.trace.tally import Row, Tally

PEER = "kvm-6.12"
_KINDS = ("CPUID", "RDMSR", "WRMSR", "VMMCALL", "NPF")
_ROUNDS = 200
_CPUID_BAR, _PART = 300, 5
"""Instructions for CPUID; the others may cost this part of what they cost KVM (issue 6)."""


def rows(engine: Engine, cpu: str, peer: str = PEER) -> list[tuple[str, str, str]]:
    """What, result and bar of each kind of exit: median instructions from #VMEXIT to the next VMRUN, that included.

    Ours with the guest ``mixed`` on ``engine``; the peer on its own L0, where it is at hand.
    """
    why = lacks(engine)
    if why:
        return [("instructions per exit", f"not counted: {why}", "")]
    manifest = load("svmconf").model_copy(update={"image": build.image()})
    ours = count(engine, manifest, Boot(guest="mixed", count=_ROUNDS), cpu).tally
    try:
        theirs = _peer(peer)
    except SvmconfError as error:
        theirs = Tally()
        peer = f"{peer} is not at hand: {error}"
    heading = ("instructions per exit (median)", f"ours / {peer}", "")
    return [heading, *(_row(kind, ours.rows.get(kind), theirs.rows.get(kind)) for kind in _KINDS)]


def _peer(name: str) -> Tally:
    from harness.engines.kvm_in_tcg import KvmInTcg
    from harness.trace import peer

    engine = KvmInTcg(name)
    try:
        return peer.count(engine)
    finally:
        engine.close()


def _row(kind: str, ours: Row | None, theirs: Row | None) -> tuple[str, str, str]:
    cost = theirs.host.median if theirs and theirs.host else None
    bar = _CPUID_BAR if kind == "CPUID" else cost and cost // _PART
    return f"  {kind}", f"{_median(ours)} / {_median(theirs)}", f"{bar:,}" if bar else ""


def _median(row: Row | None) -> str:
    """With the number of exits where there were only a few, whose median is an accident."""
    if row is None or row.host is None:
        return "-"
    return f"{row.host.median:,}" + (f" ({row.exits} only)" if row.exits < 10 else "")
