"""What an exit costs our hypervisor, and Linux KVM beside it, as rows of a bench: instructions, not time."""

from __future__ import annotations

from harness import build
from harness.boot import Boot
from harness.engines.base import Engine
from harness.engines.kvm_in_tcg import KvmInTcg
from harness.errors import SvmconfError
from harness.guests import files
from harness.guests.linux import LINUX, Linux
from harness.hypervisors.manifest import Manifest, load
from harness.model import exits
from harness.trace import peer
from harness.trace.count import count, lacks
from harness.trace.passage import Passage
from harness.trace.tally import Row, Tally, reason

PEER = "kvm-6.12"
MMIO, NEW_PAGE = "NPF, local APIC", "NPF, new page"
_KINDS = ("CPUID", "RDMSR", "WRMSR", "VMMCALL", MMIO, NEW_PAGE)
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

    Ours on ``engine``, the peer of that name on its own L0, where it is at hand.
    """
    why = lacks(engine)
    if why:
        return [("instructions per exit", f"not counted: {why}", "")]
    ours = _ours(engine, cpu)
    try:
        theirs = _peer(name)
    except SvmconfError as error:
        theirs = {}
        name = f"{name} is not at hand: {error}"
    heading = ("instructions per exit (median)", f"ours / {name}", "")
    return [heading, *(_row(one, ours.get(one), theirs.get(one)) for one in _KINDS)]


def _ours(engine: Engine, cpu: str) -> dict[str, Row]:
    """With the guest ``mixed``; what that does not do, with a Linux that boots, where its kernel is at hand."""
    manifest = load("svmconf").model_copy(update={"image": build.image()})
    found = _counted(engine, manifest, Boot(guest="mixed", count=_ROUNDS), cpu)
    linux = Linux(stress=0.0)
    if not manifest.modules or files.missing(linux):
        return found
    few = {one for one in _KINDS if one not in found or found[one].exits < _FEW}
    booted = _counted(engine, manifest, Boot(guest=LINUX, linux=linux), cpu)
    return found | {one: row for one, row in booted.items() if one in few}


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
