"""Intercepts in virtual-8086 mode with IOPL 0, where these instructions raise #GP by themselves (15.9, 15.10)."""

from conformance.intercepts.test_instructions import INTN, IRET, POPF, PUSHF
from conformance.intercepts.tried import GP, Tries, tried, without
from conformance.io_intercepts.maps import PORT, Maps
from harness.cases import executes, requirement
from harness.lab.guest import Mode
from harness.lab.seen import Seen

V86 = Tries(
    {
        "PUSHF": tried("pushf", PUSHF, mode=Mode.V86),
        "POPF": tried("popf", POPF, mode=Mode.V86),
        "IRET": tried("iret", IRET, mode=Mode.V86),
        "INTn": tried("int 0x80", INTN, mode=Mode.V86),
        "IN": Maps().tried("in al, dx", PORT, rdx=PORT, mode=Mode.V86),
    }
)


@requirement("SVM-15.9-096")
@executes(V86.programs)
def test_pushf_of_virtual_8086_mode(ran: Seen) -> None:
    """PUSHF exits before its #GP."""
    V86.come_to(ran, {"PUSHF": PUSHF, without("PUSHF"): GP})


@requirement("SVM-15.9-097")
@executes(V86.programs)
def test_popf_of_virtual_8086_mode(ran: Seen) -> None:
    """POPF exits before its #GP."""
    V86.come_to(ran, {"POPF": POPF, without("POPF"): GP})


@requirement("SVM-15.9-098")
@executes(V86.programs)
def test_iret_of_virtual_8086_mode(ran: Seen) -> None:
    """IRET exits before its #GP."""
    V86.come_to(ran, {"IRET": IRET, without("IRET"): GP})


@requirement("SVM-15.9-099")
@executes(V86.programs)
def test_intn_of_virtual_8086_mode(ran: Seen) -> None:
    """INTn exits before its #GP."""
    V86.come_to(ran, {"INTn": INTN, without("INTn"): GP})


@requirement("SVM-15.10-006")
@executes(V86.programs)
def test_in_of_virtual_8086_mode(ran: Seen) -> None:
    """IN raises its #GP, which the TSS decides about, before its intercept is looked at."""
    V86.come_to(ran, {"IN": GP, without("IN"): GP})
