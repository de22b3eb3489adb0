"""Guests for many VMRUNs in one program: each tries a VMCB that differs from a legal one in what a case is about."""

from collections.abc import Iterable

from conformance.vmrun.programs import HSAVE, efer_svme
from harness.boot import Insn
from harness.lab import vmcb
from harness.lab.program import SCRATCH, Program, Seen, Step, cpuid, wrmsr
from harness.msr import Msr

CODE_16, CODE_64 = SCRATCH + 0x4000, SCRATCH + 0x4100
TABLES = SCRATCH + 0x5000
FLAG = SCRATCH + 0x9000
"""A byte that the guest in 64-bit mode sets before its VMMCALL: it shows that the guest ran."""

_VMCBS = SCRATCH + 0x10_0000
_PAGE = 0x1000
_SET_FLAG = bytes.fromhex("c60425") + FLAG.to_bytes(4, "little") + b"\1"  # mov byte [FLAG], 1, in 64-bit mode
_VMRUN = Insn.VMRUN.opcodes[0] + bytes.fromhex("488b5870")  # vmrun; mov rbx, [rax + 70h]: EXITCODE
_READ_FLAG = bytes.fromhex("0fb60c25") + FLAG.to_bytes(4, "little")  # movzx ecx, byte [FLAG]
_CLEAR_FLAG = bytes.fromhex("c60425") + FLAG.to_bytes(4, "little") + b"\0"

INVALID = 0xFFFF_FFFF
"""The low half of VMEXIT_INVALID's exit code; how wide it is written is a case of its own."""

VMMCALL = 0x81
FIRST = 3


def real_mode(**changes: int) -> bytes:
    """A legal guest in real mode, but for the changes."""
    return vmcb.real_mode(CODE_16, **changes)


def long_mode(**changes: int) -> bytes:
    """A legal guest in 64-bit mode, but for the changes."""
    return vmcb.long_mode(CODE_64, **({"cr3": TABLES} | changes))


def runs(variants: dict[str, bytes]) -> dict[str, Program]:
    """One program that executes VMRUN with each of these VMCBs in turn; the last step asks for the address width."""
    pages = {_VMCBS + n * _PAGE: page for n, page in enumerate(variants.values())}
    regions = {CODE_16: Insn.VMMCALL.opcodes[0], CODE_64: _SET_FLAG + Insn.VMMCALL.opcodes[0]}
    regions |= vmcb.identity_tables(TABLES)
    for at, page in pages.items():
        regions |= vmcb.regions(at, page)
    tries = [Step(code=_VMRUN + _READ_FLAG + _CLEAR_FLAG, registers={"rax": at}) for at in pages]
    first = (efer_svme(True), wrmsr(Msr.VM_HSAVE_PA, HSAVE), cpuid(0x8000_0008))
    return {"": Program(regions=regions, steps=(*first, *tries))}


def limit(ran: Seen) -> int:
    """The first address beyond physical memory."""
    return 1 << (ran[FIRST - 1].registers["rax"] & 0xFF)


def exit_codes(ran: Seen, variants: Iterable[str]) -> dict[str, int | str]:
    """What each VMRUN came to: the low half of its exit code, or the fault that it raised."""
    found: dict[str, int | str] = {}
    for number, name in enumerate(variants, FIRST):
        step = ran[number]
        found[name] = step.registers["rbx"] & 0xFFFF_FFFF if step.vector is None else f"vector {step.vector}"
    return found


def all_end(ran: Seen, variants: Iterable[str], code: int, *, among: dict[str, bytes] | None = None) -> None:
    """Every one of these VMRUNs ended with that exit code; ``among`` are all of the program's, when it had more."""
    names = list(variants)
    codes = exit_codes(ran, among or names)
    others = {name: codes[name] for name in names if codes[name] != code}
    shown = ", ".join(f"{name}: {c if isinstance(c, str) else f'{c:#x}'}" for name, c in others.items())
    assert not others, f"{len(others)} of {len(names)} did not end with {code:#x}: {shown}"
