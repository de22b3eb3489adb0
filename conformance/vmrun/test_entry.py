"""A guest's first instruction that cannot be fetched: no illegal state, but a fault inside the guest (15.5.1)."""

from conformance.vmrun.guests import CATCH, FLAG, VMMCALL, each_ends, long_mode, runs
from harness.cases import executes, requirement
from harness.lab.guest import Guest, Mode, guest
from harness.lab.seen import Seen
from harness.model import exits

GP = exits.EXCEPTION + 13

BYTE_GRANULAR = 0x49B
"""Attributes of a 32-bit code segment whose descriptor would have G=0."""

CODE = f"mov byte [{FLAG:#x}], 1\nvmmcall"
LENGTH = 10


def starts_at(rip: int, limit: int) -> Guest:
    """A guest in protected mode whose code begins at this offset of a CS with this limit."""
    it = guest(Mode.PROTECTED, CODE, rip=rip, cs__limit=limit, cs__attrib=BYTE_GRANULAR, intercept_exceptions=CATCH)
    it.vmcb.cs.base = it.entry - rip
    return it


LIMIT = {
    "RIP beyond the limit": starts_at(0x1000, 0xFFF),
    "RIP far beyond the limit": starts_at(0x10_0000, 0xFFF),
    "the last byte at the limit": starts_at(0x1000, 0x1000 + LENGTH - 1),
}


@requirement("SVM-15.5.1-032")
@executes(runs(LIMIT))
def test_rip_beyond_the_limit_is_gp_in_the_guest(ran: Seen) -> None:
    """VMRUN of a guest whose RIP lies beyond CS.limit succeeds; then the guest's fetch raises #GP(0)."""
    each_ends(ran, dict(zip(LIMIT, (GP, GP, VMMCALL), strict=True)))
    assert [(ran.vmrun(n).info1, ran.vmrun(n).after.rip) for n in range(2)] == [(0, 0x1000), (0, 0x10_0000)]
    assert [FLAG in ran.vmrun(n).step.changes for n in range(3)] == [False, False, True]


CANONICAL = {
    "bit 47 alone": long_mode(rip=1 << 47, intercept_exceptions=CATCH),
    "bit 63 alone": long_mode(rip=1 << 63, intercept_exceptions=CATCH),
    "canonical": long_mode(intercept_exceptions=CATCH),
}


@requirement("SVM-15.5.1-054")
@executes(runs(CANONICAL))
def test_rip_that_is_not_canonical_is_gp_in_the_guest(ran: Seen) -> None:
    """VMRUN of a 64-bit guest whose RIP is not canonical succeeds; then the guest's fetch raises #GP(0)."""
    each_ends(ran, dict(zip(CANONICAL, (GP, GP, VMMCALL), strict=True)))
    assert [ran.vmrun(n).info1 for n in range(2)] == [0, 0]
