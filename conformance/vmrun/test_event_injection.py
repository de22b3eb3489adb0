"""Event injection (15.20): which requests VMRUN refuses."""

from conformance.vmrun.guests import INVALID, VMMCALL, all_end, long_mode, real_mode, runs
from harness.cases import executes, requirement
from harness.lab.seen import Seen
from harness.model.registers import Event

EXCEPTION = 3 << 8

RESERVED_TYPES = {f"type {kind}": real_mode(eventinj=Event.V | kind << 8 | 0x20) for kind in (1, 5, 6, 7)}


@requirement("SVM-15.20-007", "SVM-15.5.1-C-023")
@executes(runs(RESERVED_TYPES))
def test_reserved_types_are_invalid(ran: Seen) -> None:
    """Injecting an event of type 1, 5, 6 or 7 makes VMRUN exit with VMEXIT_INVALID."""
    all_end(ran, RESERVED_TYPES, INVALID)


NMI = {"vector 2": real_mode(eventinj=Event.V | EXCEPTION | 2)}


@requirement("SVM-15.20-008", "SVM-15.5.1-C-023")
@executes(runs(NMI))
def test_exception_with_the_vector_of_nmi_is_invalid(ran: Seen) -> None:
    """Injecting an exception with vector 2 makes VMRUN exit with VMEXIT_INVALID."""
    all_end(ran, NMI, INVALID)


ABOVE_31 = {f"vector {n}": real_mode(eventinj=Event.V | EXCEPTION | n) for n in (32, 33, 64, 128, 255)}


@requirement("SVM-15.20-009", "SVM-15.5.1-C-023")
@executes(runs(ABOVE_31))
def test_exception_above_31_is_invalid(ran: Seen) -> None:
    """Injecting an exception with a vector above 31 makes VMRUN exit with VMEXIT_INVALID."""
    all_end(ran, ABOVE_31, INVALID)


NO_EXCEPTION = {f"vector {n}": real_mode(eventinj=Event.V | EXCEPTION | n) for n in (9, 15, 22, 24, 27, 31)}


@requirement("SVM-15.20-010", "SVM-15.5.1-C-023")
@executes(runs(NO_EXCEPTION))
def test_exception_with_a_reserved_vector_is_invalid(ran: Seen) -> None:
    """Injecting an exception with a vector below 32 that is no exception makes VMRUN exit with VMEXIT_INVALID."""
    all_end(ran, NO_EXCEPTION, INVALID)


IMPOSSIBLE = {"#BR": long_mode(eventinj=Event.V | EXCEPTION | 5)}


@requirement("SVM-15.20-011", "SVM-15.5.1-C-023")
@executes(runs(IMPOSSIBLE))
def test_exception_that_64_bit_mode_cannot_raise_is_invalid(ran: Seen) -> None:
    """Injecting #BR into a guest in 64-bit mode makes VMRUN exit with VMEXIT_INVALID."""
    all_end(ran, IMPOSSIBLE, INVALID)


NOTHING = {f"type {kind}": real_mode(eventinj=kind << 8 | 0xFF) for kind in range(8)}


@requirement("SVM-15.20-021")
@executes(runs(NOTHING))
def test_without_v_nothing_is_injected(ran: Seen) -> None:
    """With EVENTINJ.V=0 the other bits are ignored and the guest runs."""
    all_end(ran, NOTHING, VMMCALL)
