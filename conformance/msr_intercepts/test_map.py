"""Which RDMSR and WRMSR exit: by the bits of the map (15.11)."""

from conformance.intercepts.tried import GOES_ON, GP, Tries
from conformance.msr_intercepts.maps import Maps
from harness.cases import executes, requirement
from harness.lab.seen import Seen
from harness.model.exits import MSR
from harness.msr import Msr

READ, WRITE = False, True
SYSENTER_ESP, STAR, LSTAR, SFMASK = 0x175, 0xC000_0081, 0xC000_0082, 0xC000_0084
FREE = (SYSENTER_ESP, STAR, LSTAR, SFMASK)
"""MSRs that anything can be written to: of those the manual's bits of the map are tried alone."""

EACH = (0x10, 0x174, SYSENTER_ESP, 0x277, Msr.EFER, STAR, LSTAR, SFMASK, Msr.VM_CR, Msr.VM_HSAVE_PA)
"""MSRs of every range."""

OUTSIDE = (0x2000, 0xBFFF_FFFF, 0xC000_2000, 0xC001_2000, 0xFFFF_FFFF)
"""What the map has no bits for."""

NONE_THERE = 0x1FFF
ILLEGAL_TYPE = 2
"""Of memory, in PAT."""


def neighbours(msr: int) -> list[tuple[int, bool]]:
    """All accesses to the MSRs before it and behind it."""
    return [(msr + off, how) for off in (-1, 1) for how in (READ, WRITE)]


MAPS = Maps()
ACCESSES = Tries(
    {f"read {msr:#x}": MAPS.tried(msr, READ, (msr, READ)) for msr in EACH}
    | {f"write {msr:#x}": MAPS.tried(msr, WRITE, (msr, WRITE)) for msr in FREE}
    | {f"read {msr:#x} with the other bit": MAPS.tried(msr, READ, (msr, WRITE)) for msr in FREE}
    | {f"write {msr:#x} with the other bit": MAPS.tried(msr, WRITE, (msr, READ)) for msr in FREE}
    | {f"read {msr:#x} with its neighbours' bits": MAPS.tried(msr, READ, *neighbours(msr)) for msr in FREE}
    | {f"read {msr:#x}": MAPS.tried(msr, READ) for msr in OUTSIDE}
    | {f"write {msr:#x}": MAPS.tried(msr, WRITE) for msr in OUTSIDE}
    | {
        "read at CPL 3": MAPS.tried(STAR, READ, (STAR, READ), cpl=3),
        "write at CPL 3": MAPS.tried(STAR, WRITE, (STAR, WRITE), cpl=3),
        "read one that is not there": MAPS.tried(NONE_THERE, READ, (NONE_THERE, READ)),
        "write one that is not there": MAPS.tried(NONE_THERE, WRITE, (NONE_THERE, WRITE)),
        "write reserved bits of EFER": MAPS.tried(Msr.EFER, WRITE, (Msr.EFER, WRITE), value=1 << 63),
        "write an illegal PAT": MAPS.tried(Msr.PAT, WRITE, (Msr.PAT, WRITE), value=ILLEGAL_TYPE),
    }
)  # fmt: skip


@requirement("SVM-15.11-011")
@executes(ACCESSES.programs)
def test_rdmsr_and_wrmsr(ran: Seen) -> None:
    """RDMSR and WRMSR of an MSR whose bit is set exit with 7Ch, in each of the ranges."""
    ACCESSES.exit(ran, MSR, *(f"read {msr:#x}" for msr in EACH), *(f"write {msr:#x}" for msr in FREE))


@requirement("SVM-15.11-001")
@executes(ACCESSES.programs)
def test_without_intercept(ran: Seen) -> None:
    """With MSR_PROT clear none exits, be it one outside of the map."""
    ACCESSES.need_their_intercepts(ran)


@requirement("SVM-15.11-002")
@executes(ACCESSES.programs)
def test_place_in_the_map(ran: Seen) -> None:
    """An MSR has two bits of the map to itself: its own make it exit, and those of its neighbours do not."""
    ACCESSES.come_to(ran, {f"read {msr:#x}": MSR for msr in EACH})
    ACCESSES.come_to(ran, {f"read {msr:#x} with its neighbours' bits": GOES_ON for msr in FREE})


@requirement("SVM-15.11-003")
@executes(ACCESSES.programs)
def test_lower_bit_is_for_rdmsr(ran: Seen) -> None:
    """Of the two bits the lower makes RDMSR exit and not WRMSR, the upper WRMSR and not RDMSR."""
    for how in ("read", "write"):
        ACCESSES.come_to(ran, {f"{how} {msr:#x}": MSR for msr in FREE})
        ACCESSES.come_to(ran, {f"{how} {msr:#x} with the other bit": GOES_ON for msr in FREE})


@requirement("SVM-15.11-004")
@executes(ACCESSES.programs)
def test_outside_of_the_map(ran: Seen) -> None:
    """MSRs that the map has no bits for exit, read and written."""
    ACCESSES.exit(ran, MSR, *(f"{how} {msr:#x}" for how in ("read", "write") for msr in OUTSIDE))


@requirement("SVM-15.11-005")
@executes(ACCESSES.programs)
def test_cpl_comes_first(ran: Seen) -> None:
    """RDMSR and WRMSR at CPL 3 raise #GP though they are intercepted."""
    ACCESSES.come_to(ran, {"read at CPL 3": GP, "write at CPL 3": GP, f"read {STAR:#x}": MSR, f"write {STAR:#x}": MSR})


@requirement("SVM-15.11-012")
@executes(ACCESSES.programs)
def test_intercept_comes_before_the_faults_of_one_msr(ran: Seen) -> None:
    """An MSR that does not exist, and a value that it cannot hold, exit: the #GP would have come after."""
    ACCESSES.exit(
        ran, MSR, "read one that is not there", "write one that is not there", "write reserved bits of EFER",
        "write an illegal PAT",
    )  # fmt: skip


@requirement("SVM-15.11-006")
@executes(ACCESSES.programs)
def test_exitinfo1_tells_rdmsr_from_wrmsr(ran: Seen) -> None:
    """EXITINFO1 is 0 for RDMSR and 1 for WRMSR."""
    names = [f"{how} {msr:#x}" for how in ("read", "write") for msr in FREE]
    ACCESSES.come_to(ran, dict.fromkeys(names, MSR))
    assert {name: ran.vmrun(name).info1 for name in names} == {name: int(name.startswith("write")) for name in names}
