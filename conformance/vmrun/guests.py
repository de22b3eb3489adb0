"""Many VMRUNs in one program: each tries a guest that differs from a legal one in what a case is about."""

from collections.abc import Iterable, Mapping

from harness.lab import places
from harness.lab.guest import Guest, Mode, guest
from harness.lab.program import Program
from harness.lab.programs import vmruns
from harness.lab.seen import Seen
from harness.lab.steps import cpuid

INVALID = 0xFFFF_FFFF
"""The low half of VMEXIT_INVALID's exit code; how wide it is written is a case of its own."""

VMMCALL = 0x81

CATCH = 1 << 1 | 1 << 6 | 1 << 12 | 1 << 13 | 1 << 14
"""``intercept_exceptions``: a #DB, #UD, #SS, #GP or #PF in the guest ends it, and is seen as what it is."""

FLAG = places.DATA
"""A byte that the guest in 64-bit mode sets before its VMMCALL: it shows that the guest ran."""

_WIDTHS = "widths"


def real_mode(**changes: int) -> Guest:
    """A legal guest in real mode, but for the changes."""
    return guest(Mode.REAL, **changes)


def long_mode(**changes: int) -> Guest:
    """A legal guest in 64-bit mode, but for the changes; it sets :data:`FLAG`."""
    return guest(Mode.LONG, f"mov byte [{FLAG:#x}], 1\nvmmcall", **changes)


def runs(variants: Mapping[str, Guest]) -> dict[str, Program]:
    """One program that runs each of these guests in turn, and asks for the address width."""
    program = vmruns(variants, first=(cpuid(0x8000_0008).model_copy(update={"name": _WIDTHS}),))
    return {"": program.model_copy(update={"watches": program.watches | {FLAG: 8}})}


def limit(ran: Seen) -> int:
    """The first address beyond physical memory."""
    return 1 << (ran[_WIDTHS].registers["rax"] & 0xFF)


def exit_codes(ran: Seen, variants: Iterable[str]) -> dict[str, int | str]:
    """What each VMRUN came to: the low half of its exit code, or the fault that it raised."""
    found: dict[str, int | str] = {}
    for name in variants:
        code = ran.vmrun(name).exit
        found[name] = code if isinstance(code, str) else code & 0xFFFF_FFFF
    return found


def all_end(ran: Seen, variants: Iterable[str], code: int) -> None:
    """Every one of these VMRUNs ended with that exit code."""
    codes = exit_codes(ran, variants)
    others = {name: seen for name, seen in codes.items() if seen != code}
    shown = ", ".join(f"{name}: {c if isinstance(c, str) else f'{c:#x}'}" for name, c in others.items())
    assert not others, f"{len(others)} of {len(codes)} did not end with {code:#x}: {shown}"


def each_ends(ran: Seen, expected: Mapping[str, int | str]) -> None:
    """Each of these VMRUNs ended with its exit code, or raised its fault (``#13``)."""
    shown = {name: code if isinstance(code, str) else f"{code:#x}" for name, code in expected.items()}
    codes = exit_codes(ran, expected)
    seen = {name: code if isinstance(code, str) else f"{code:#x}" for name, code in codes.items()}
    assert seen == shown
