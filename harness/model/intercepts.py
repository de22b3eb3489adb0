"""Which actions of a guest are intercepted, and what comes first: the intercept, or a fault of the instruction.

The exit code is the place of the intercept's bit, counted from the start of the VMCB (SVM-C-001). Faults come in stages
(15.7): for each instruction the table says which stages are looked at before its intercept.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import IntEnum

from harness.machine.vmcb import Vmcb
from harness.model import exits
from harness.model.citing import cites
from harness.model.cpuid import IDLE_HLT, VMCB_ADDRESS_CHECK, Cpuid
from harness.model.registers import Cr0, Misc1


class Fault(IntEnum):
    """Why an instruction may fault, in the order in which a processor finds out."""

    ABSENT = 0
    """The processor does not have it: #UD, whatever is intercepted (SVM-15.9-064)."""
    MODE = 1
    """#UD in this mode of the processor."""
    PRIVILEGE = 2
    """#GP for CPL, IOPL, virtual-8086 mode or the TSS's bitmap."""
    VALUE = 3
    """#GP for the value of an operand."""
    MEMORY = 4
    """#PF, #SS, #AC, #NP, #TS or a limit's #GP: from an access to memory."""


_NONE: frozenset[Fault] = frozenset()
_CPL = frozenset((Fault.PRIVILEGE,))
_UD = frozenset((Fault.MODE,))
_UD_CPL = frozenset((Fault.MODE, Fault.PRIVILEGE))
_NO_MEMORY = _UD_CPL | {Fault.VALUE}
_ALL = _NO_MEMORY | {Fault.MEMORY}


@dataclass(frozen=True)
class Intercept:
    """One intercept: the guest's action, its exit code, the stages of faults that come before it, and who says so.

    ``trap`` is an intercept that is taken after the action has been done.
    """

    action: str
    code: int
    after: frozenset[Fault]
    requirements: tuple[str, ...]
    trap: bool = False


def _one(action: str, code: int, after: frozenset[Fault], *numbers: int, trap: bool = False) -> Intercept:
    return Intercept(action, code, after, tuple(f"SVM-15.9-{n:03}" for n in numbers), trap)


def _table() -> tuple[Intercept, ...]:
    table = [
        _one("read CR0", 0x00, _NO_MEMORY, 1),
        _one("write CR0", 0x10, _NO_MEMORY, 2),
        _one("read CR3", 0x03, _NO_MEMORY, 3),
        _one("write CR3", 0x13, _NO_MEMORY, 4),
        *(_one(f"read CR{n}", n, _ALL, 6) for n in range(16) if n not in (0, 3)),
        *(_one(f"write CR{n}", 0x10 + n, _ALL, 7, *([8] if n == 8 else [])) for n in range(16) if n not in (0, 3)),
        *(_one(f"read DR{n}", 0x20 + n, _ALL, 9) for n in range(16)),
        *(_one(f"write DR{n}", 0x30 + n, _ALL, 10) for n in range(16)),
        _one("write CR0 selectively", exits.CR0_SEL_WRITE, _NO_MEMORY, 12),
    ]
    descriptor_tables = ("SIDT", "SGDT", "SLDT", "STR", "LIDT", "LGDT", "LLDT", "LTR")
    table += [_one(insn, 0x66 + n, _NO_MEMORY, 16 + n) for n, insn in enumerate(descriptor_tables)]
    plain = (
        ("RDTSC", _ALL, 24), ("RDPMC", _ALL, 25), ("PUSHF", _NONE, 26), ("POPF", _NONE, 27), ("CPUID", _NONE, 28),
        ("RSM", _NONE, 29), ("IRET", _NONE, 30), ("INTn", _NONE, 31), ("INVD", _NO_MEMORY, 33), ("PAUSE", _NONE, 34),
        ("HLT", _ALL, 35), ("INVLPG", _ALL, 36), ("INVLPGA", _ALL, 37),
    )  # fmt: skip
    table += [_one(insn, 0x6E + n, after, number) for n, (insn, after, number) in enumerate(plain)]
    table += [
        Intercept("I/O", exits.IOIO, _UD_CPL, ("SVM-15.10-001", "SVM-15.10-006", "SVM-15.10-007")),
        Intercept("MSR", exits.MSR, _UD_CPL, ("SVM-15.11-011", "SVM-15.11-005", "SVM-15.11-012")),
        _one("VMRUN", 0x80, _UD_CPL, 38, 62, 63),
        _one("VMMCALL", 0x81, _NONE, 39),
        _one("VMLOAD", 0x82, _UD_CPL, 40, 62, 63),
        _one("VMSAVE", 0x83, _UD_CPL, 41, 62, 63),
        _one("STGI", 0x84, _NO_MEMORY, 42),
        _one("CLGI", 0x85, _NO_MEMORY, 43),
        _one("SKINIT", 0x86, _NO_MEMORY, 44),
        _one("RDTSCP", 0x87, _ALL, 45),
        _one("ICEBP", 0x88, _NONE, 46),
        _one("WBINVD", 0x89, _NO_MEMORY, 47),
        _one("WBNOINVD", 0x89, _NO_MEMORY, 65),
        _one("MONITOR", 0x8A, _ALL, 48),
        _one("MONITORX", 0x8A, _ALL, 66),
        _one("MWAIT", exits.MWAIT, _ALL, 49),
        _one("MWAITX", exits.MWAIT, _ALL, 67),
        _one("MWAIT while armed", exits.MWAIT_CONDITIONAL, _ALL, 50),
        _one("MWAITX while armed", exits.MWAIT_CONDITIONAL, _ALL, 69),
        _one("XSETBV", 0x8D, _UD, 51),
        _one("RDPRU", 0x8E, _ALL, 52),
        _one("write EFER", exits.EFER_WRITE_TRAP, _ALL, 53, trap=True),
        *(_one(f"written CR{n}", exits.CR_WRITE_TRAP + n, _ALL, 54, trap=True) for n in range(16)),
        _one("INVLPGB", 0xA0, _CPL, 55),
        _one("illegal INVLPGB", 0xA1, _CPL, 56),
        _one("INVPCID", 0xA2, _CPL, 57),
        _one("MCOMMIT", 0xA3, _UD_CPL, 58),
        _one("TLBSYNC", 0xA4, _NO_MEMORY, 59),
        _one("HLT while idle", exits.IDLE_HLT, _ALL, 60),
    ]
    return tuple(table)


INTERCEPTS: dict[str, Intercept] = {one.action: one for one in _table()}
"""Every intercept of an instruction, by what the guest does. Of MCOMMIT the order is not stated: it has that of
SVM-15.7-004."""

_ADDRESSED = ("VMRUN", "VMLOAD", "VMSAVE")

_ORDER = tuple(f"SVM-15.9-{n:03}" for n in range(70, 125))
"""What the table says of an instruction besides its code: above all what comes before its intercept (``after``)."""


@dataclass(frozen=True)
class Answer:
    """What comes of a guest's action: an exit with this code, or a fault; neither: it is done."""

    exit: int | None = None
    fault: Fault | None = None


@cites("SVM-C-001", "SVM-15.9-061")
def intercepted(vmcb: Vmcb, code: int) -> bool:
    """Whether the bit of an exit code is set in the intercept vectors (SVM-C-001)."""
    return 0 <= code <= exits.LAST_BIT and bool(vmcb.data[code // 8] >> code % 8 & 1)


@cites("SVM-15.7-003", "SVM-15.7-004", "SVM-15.9-062", "SVM-15.9-063", "SVM-15.9-064", *_ORDER)
def answer(action: str, vmcb: Vmcb, cpuid: Cpuid, faults: Collection[Fault] = ()) -> Answer:
    """What comes of an action that by itself would raise these faults; raise :class:`KeyError` for an unknown one.

    Maps (I/O, MSR) are looked up by :func:`io` and :func:`msr`, not here: their bits are taken to be set.
    """
    one = INTERCEPTS[action]
    before = one.after | {Fault.ABSENT}
    if action in _ADDRESSED and Fault.VALUE in faults and not cpuid.has(VMCB_ADDRESS_CHECK):
        before |= {Fault.VALUE}
    if not intercepted(vmcb, one.code):
        return Answer(fault=min(faults, default=None))
    early = min(before.intersection(faults), default=None)
    return Answer(exit=one.code) if early is None else Answer(fault=early)


@cites("SVM-15.9-002", "SVM-15.9-012", "SVM-15.9-013", "SVM-15.9-014", "SVM-15.9-015")
def write_cr0(vmcb: Vmcb, old: int, new: int, how: str = "MOV") -> int | None:
    """The exit code of a write of CR0 by ``MOV``, ``LMSW`` or ``CLTS``; ``None`` when it is not intercepted.

    The ordinary intercept wins; the selective one looks at what MOV changes, at nothing LMSW
    does, and never at CLTS.
    """
    if intercepted(vmcb, exits.CR_WRITE):
        return exits.CR_WRITE
    if how == "CLTS" or not vmcb["intercept_misc1"] & Misc1.CR0_SEL_WRITE:
        return None
    changes = (old ^ new) & ~(Cr0.TS | Cr0.MP)
    return exits.CR0_SEL_WRITE if how == "LMSW" or changes else None


@cites("SVM-15.9-035", "SVM-15.9-060")
def halt(vmcb: Vmcb, cpuid: Cpuid, pending: bool) -> int | None:
    """The exit code of HLT, with or without a virtual interrupt or NMI pending."""
    if intercepted(vmcb, exits.HLT):
        return exits.HLT
    idle = intercepted(vmcb, exits.IDLE_HLT) and cpuid.has(IDLE_HLT)
    return exits.IDLE_HLT if idle and not pending else None


@cites("SVM-15.9-049", "SVM-15.9-050", "SVM-15.9-068")
def mwait(vmcb: Vmcb, armed: bool) -> int | None:
    """The exit code of MWAIT: the conditional intercept is looked at first."""
    if armed and intercepted(vmcb, exits.MWAIT_CONDITIONAL):
        return exits.MWAIT_CONDITIONAL
    return exits.MWAIT if intercepted(vmcb, exits.MWAIT) else None


@cites("SVM-15.12-001", "SVM-15.12-003", "SVM-15.13-002", "SVM-15.12.3-001", "SVM-15.12.10-001", "SVM-15.9-032")
def exception(vmcb: Vmcb, vector: int, raised: bool = True) -> int | None:
    """The exit code of a vector: for exceptions that are ``raised``, not for interrupts or INTn.

    Vectors 2 and 9 have no intercept.
    """
    code = exits.EXCEPTION + vector
    return code if raised and vector not in (2, 9) and vector < 32 and intercepted(vmcb, code) else None


@cites("SVM-15.10-001", "SVM-15.10-002", "SVM-15.10-004", "SVM-15.10-005", "SVM-15.10-017", "SVM-15.10-018")
def io(vmcb: Vmcb, iopm: bytes, port: int, size: int) -> bool:
    """Whether an access of ``size`` bytes is intercepted; ``iopm`` are the map's 12 KiB."""
    if not vmcb["intercept_misc1"] & Misc1.IOIO_PROT:
        return False
    return any(iopm[at // 8] >> at % 8 & 1 for at in range(port, port + size))


@cites("SVM-15.11-001", "SVM-15.11-002", "SVM-15.11-003", "SVM-15.11-004", "SVM-15.11-011")
def msr(vmcb: Vmcb, msrpm: bytes, number: int, write: bool) -> bool:
    """Whether an RDMSR or WRMSR is intercepted; ``msrpm`` are the map's 8 KiB."""
    if not vmcb["intercept_misc1"] & Misc1.MSR_PROT:
        return False
    for vector, first in enumerate((0, 0xC000_0000, 0xC001_0000)):
        if first <= number < first + 0x2000:
            bit = 0x4000 * vector + 2 * (number - first) + write
            return bool(msrpm[bit // 8] >> bit % 8 & 1)
    return True
