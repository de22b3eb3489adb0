"""What an exit says of the access to a port, in EXITINFO1 and EXITINFO2 (15.10)."""

from collections.abc import Iterable

from conformance.intercepts.tried import Tries
from conformance.io_intercepts.maps import PORT, Maps
from harness.cases import executes, requirement
from harness.lab import places
from harness.lab.guest import Mode
from harness.lab.seen import Seen
from harness.model.exits import IOIO

IN, STR, REP = 1 << 0, 1 << 2, 1 << 3
SZ8, SZ16, SZ32 = 1 << 4, 1 << 5, 1 << 6
A16, A32, A64 = 1 << 7, 1 << 8, 1 << 9
SIZES, ADDRESSES = SZ8 | SZ16 | SZ32, A16 | A32 | A64

ACCESSES = {  # what EXITINFO1[9:0] is
    "in al, 0x80": (Mode.LONG, IN | SZ8 | A64),
    "in ax, dx": (Mode.LONG, IN | SZ16 | A64),
    "in eax, dx": (Mode.LONG, IN | SZ32 | A64),
    "out 0x80, al": (Mode.LONG, SZ8 | A64),
    "out dx, ax": (Mode.LONG, SZ16 | A64),
    "out dx, eax": (Mode.LONG, SZ32 | A64),
    "insb": (Mode.LONG, IN | STR | SZ8 | A64),
    "insw": (Mode.LONG, IN | STR | SZ16 | A64),
    "a32 insd": (Mode.LONG, IN | STR | SZ32 | A32),
    "outsb": (Mode.LONG, STR | SZ8 | A64),
    "outsw": (Mode.LONG, STR | SZ16 | A64),
    "a32 outsd": (Mode.LONG, STR | SZ32 | A32),
    "rep insb": (Mode.LONG, IN | STR | REP | SZ8 | A64),
    "rep outsd": (Mode.LONG, STR | REP | SZ32 | A64),
    "in al, dx": (Mode.PAGED, IN | SZ8 | A32),
    "a16 outsb": (Mode.PAGED, STR | SZ8 | A16),
    "out dx, al": (Mode.REAL, SZ8 | A16),
    "a32 insb": (Mode.REAL, IN | STR | SZ8 | A32),
}

MAPS = Maps()
BUFFER = places.DATA
TOLD = Tries(
    {
        code: MAPS.tried(code, *range(PORT, PORT + 4), mode=mode, rdx=PORT, rcx=1, rdi=BUFFER, rsi=BUFFER)
        for code, (mode, _) in ACCESSES.items()
    }
    | {f"port {port:#x}": MAPS.tried("in al, dx", port, rdx=port) for port in (0x8001, 0xFFFF)}
)


def tell(ran: Seen, mask: int) -> None:
    """These bits of EXITINFO1 are what they are for each access."""
    seen = {code: f"{ran.vmrun(code).info1 & mask:#x}" for code in exited(ran, ACCESSES)}
    assert seen == {code: f"{bits & mask:#x}" for code, (_, bits) in ACCESSES.items()}


def exited(ran: Seen, names: Iterable[str]) -> list[str]:
    """All of them, after having seen that each exited because of its port."""
    TOLD.come_to(ran, dict.fromkeys(names, IOIO))
    return list(names)


@requirement("SVM-15.10-008")
@executes(TOLD.programs)
def test_port(ran: Seen) -> None:
    """EXITINFO1[31:16] is the port, be it in the instruction or in DX."""
    assert {ran.vmrun(code).info1 >> 16 & 0xFFFF for code in exited(ran, ACCESSES)} == {PORT}
    others = exited(ran, ("port 0x8001", "port 0xffff"))
    assert [ran.vmrun(name).info1 >> 16 & 0xFFFF for name in others] == [0x8001, 0xFFFF]


@requirement("SVM-15.10-009")
@executes(TOLD.programs)
def test_direction(ran: Seen) -> None:
    """EXITINFO1 bit 0 is 1 for IN and INS, 0 for OUT and OUTS."""
    tell(ran, IN)


@requirement("SVM-15.10-010")
@executes(TOLD.programs)
def test_string(ran: Seen) -> None:
    """EXITINFO1 bit 2 is 1 for INS and OUTS, 0 for IN and OUT."""
    tell(ran, STR)


@requirement("SVM-15.10-011")
@executes(TOLD.programs)
def test_repeated(ran: Seen) -> None:
    """EXITINFO1 bit 3 is 1 with a REP prefix, else 0."""
    tell(ran, REP)


@requirement("SVM-15.10-012")
@executes(TOLD.programs)
def test_operand_size(ran: Seen) -> None:
    """EXITINFO1 has exactly one of SZ8, SZ16 and SZ32 set, that of the access."""
    tell(ran, SIZES)


@requirement("SVM-15.10-013")
@executes(TOLD.programs)
def test_address_size(ran: Seen) -> None:
    """EXITINFO1 has exactly one of A16, A32 and A64 set, by the mode and the address-size prefix."""
    tell(ran, ADDRESSES)


@requirement("SVM-15.10-015")
@executes(TOLD.programs)
def test_next_instruction(ran: Seen) -> None:
    """EXITINFO2 is the RIP of the instruction behind."""
    for code in exited(ran, ACCESSES):
        seen = ran.vmrun(code)
        assert seen.info2 == seen.after.rip + TOLD.length(code), f"{code}: {seen.info2:#x} behind {seen.after.rip:#x}"
