"""Which accesses to ports exit: by the bits of the map, all of those that an access touches (15.10)."""

from conformance.intercepts.tried import GOES_ON, GP, NOWHERE, PF, Tries, without
from conformance.io_intercepts.maps import PORT, Maps
from harness.cases import executes, requirement
from harness.lab import places
from harness.lab.seen import Seen
from harness.model.exits import IOIO

MAPS = Maps()
BUFFER = places.DATA

SINGLE = {"IN AL": "in al, 0x80", "IN EAX": "in eax, dx", "OUT AL": "out 0x80, al", "OUT EAX": "out dx, eax"}
STRING = {"INSB": "insb", "INSD": "insd", "OUTSB": "outsb", "OUTSD": "outsd"}
EACH = (0x80, 0x87, 0x88, 0x4000, 0xABCD, 0xFFFE)
"""Ports whose neighbours are no devices either; at the borders of the map's bytes, and between."""

WIDTHS = {"AL": 1, "AX": 2, "EAX": 4}
LAST = 0xFFFF

PORTS = Tries(
    {name: MAPS.tried(code, *range(PORT, PORT + 4), rdx=PORT) for name, code in SINGLE.items()}
    | {
        name: MAPS.tried(code, *range(PORT, PORT + 4), rdx=PORT, rdi=BUFFER, rsi=BUFFER)
        for name, code in STRING.items()
    }
    | {f"port {port:#x} of {port:#x}": MAPS.tried("in al, dx", port, rdx=port) for port in EACH}
    | {f"port {port - 1:#x} of {port:#x}": MAPS.tried("in al, dx", port, rdx=port - 1) for port in EACH}
    | {f"port {port + 1:#x} of {port:#x}": MAPS.tried("in al, dx", port, rdx=port + 1) for port in EACH}
    | {
        f"{name} with byte {byte} intercepted": MAPS.tried(f"in {name}, dx", PORT + byte, rdx=PORT)
        for name in WIDTHS
        for byte in range(5)
    }
    | {f"{name} at the last port": MAPS.tried(f"in {name}, dx", LAST + 1, rdx=LAST) for name in WIDTHS}
    | {
        "CPL 3": MAPS.tried("in al, dx", PORT, rdx=PORT, cpl=3),
        "INSB to nowhere": MAPS.tried("insb", PORT, rdx=PORT, rdi=NOWHERE),
        "OUTSB of nowhere": MAPS.tried("outsb", PORT, rdx=PORT, rsi=NOWHERE),
        "REP INSB": MAPS.tried("rep insb", PORT, rdx=PORT, rdi=BUFFER, rcx=3),
        "REP OUTSB": MAPS.tried("rep outsb", PORT, rdx=PORT, rsi=BUFFER, rcx=3),
    }
)


@requirement("SVM-15.10-001")
@executes(PORTS.programs)
def test_in_and_out(ran: Seen) -> None:
    """IN and OUT of a port whose bit is set exit with 7Bh."""
    PORTS.exit(ran, IOIO, *SINGLE)


@requirement("SVM-15.10-018")
@executes(PORTS.programs)
def test_ins_and_outs(ran: Seen) -> None:
    """INS and OUTS of a port whose bit is set exit with 7Bh."""
    PORTS.exit(ran, IOIO, *STRING)


@requirement("SVM-15.10-017")
@executes(PORTS.programs)
def test_without_intercept(ran: Seen) -> None:
    """With IOIO_PROT clear none exits, whatever the map says."""
    PORTS.need_their_intercepts(ran)


@requirement("SVM-15.10-002")
@executes(PORTS.programs)
def test_bit_n_is_port_n(ran: Seen) -> None:
    """With one bit of the map set that port exits, and its neighbours do not."""
    PORTS.come_to(ran, {f"port {port:#x} of {port:#x}": IOIO for port in EACH})
    PORTS.come_to(ran, {f"port {port + off:#x} of {port:#x}": GOES_ON for port in EACH for off in (-1, 1)})


@requirement("SVM-15.10-004")
@executes(PORTS.programs)
def test_every_byte_of_an_access_counts(ran: Seen) -> None:
    """An access of several bytes exits when the bit of any of them is set, and not for the one behind."""
    PORTS.come_to(
        ran,
        {
            f"{name} with byte {byte} intercepted": IOIO if byte < size else GOES_ON
            for name, size in WIDTHS.items()
            for byte in range(5)
        },
    )


@requirement("SVM-15.10-005")
@executes(PORTS.programs)
def test_bits_behind_the_last_port(ran: Seen) -> None:
    """An access that runs past port FFFFh looks at the bits behind bit 65535; one of port FFFFh alone does not."""
    PORTS.come_to(ran, {f"{name} at the last port": IOIO if size > 1 else GOES_ON for name, size in WIDTHS.items()})


@requirement("SVM-15.10-006")
@executes(PORTS.programs)
def test_privilege_comes_first(ran: Seen) -> None:
    """IN at CPL 3 with IOPL 0, and no TSS that would allow it, raises #GP though it is intercepted."""
    PORTS.come_to(ran, {"CPL 3": GP, "IN AL": IOIO})


@requirement("SVM-15.10-007")
@executes(PORTS.programs)
def test_intercept_comes_before_the_memory_operand(ran: Seen) -> None:
    """INS and OUTS exit where their memory would raise #PF, which comes only when they are not intercepted."""
    for name in ("INSB to nowhere", "OUTSB of nowhere"):
        PORTS.come_to(ran, {name: IOIO, without(name): PF})


@requirement("SVM-15.10-016")
@executes(PORTS.programs)
def test_intercepted_step_has_no_effect(ran: Seen) -> None:
    """REP INS and REP OUTS exit with RCX, RSI and RDI as they were."""
    PORTS.exit(ran, IOIO, "REP INSB", "REP OUTSB")
    after = [ran.vmrun(name).step.registers for name in ("REP INSB", "REP OUTSB")]
    assert [(it["rcx"], it["rdi"], it["rsi"]) for it in after] == [(3, BUFFER, 0), (3, 0, BUFFER)]
