"""Exit codes (appendix C) and what EXITINFO1 and EXITINFO2 hold for each (15.7 to 15.14, 15.25.6, 15.29).

>>> name(0x7B), describe(0x7B, 0x00E9_0210, 0x1002)
('IOIO', 'OUT port=0xe9 size=1 address_size=8 next_rip=0x1002')
>>> describe(0x400, 0x1_0000_0007, 0x4000_0000)
'write, present, on the final address, guest_physical=0x40000000'
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from harness.model.citing import cites
from harness.model.injection import EXCEPTIONS, Kind
from harness.model.registers import Event

INVALID, BUSY, IDLE_REQUIRED, INVALID_PMC = ((1 << 64) - n for n in range(1, 5))
"""The negative codes, as 64-bit numbers (SVM-C-002, SVM-15.5.1-C-031)."""

NPF, AVIC_INCOMPLETE_IPI, AVIC_NOACCEL, VMGEXIT = range(0x400, 0x404)
CR_READ, CR_WRITE, DR_READ, DR_WRITE, EXCEPTION = 0x00, 0x10, 0x20, 0x30, 0x40
INTR, NMI, SMI, INIT, VINTR, CR0_SEL_WRITE = range(0x60, 0x66)
CPUID, INTN, HLT, INVLPG, IOIO, MSR, TASK_SWITCH, SHUTDOWN = 0x72, 0x75, 0x78, 0x79, 0x7B, 0x7C, 0x7D, 0x7F
VMRUN, VMMCALL, VMLOAD, VMSAVE = range(0x80, 0x84)
EFER_WRITE_TRAP, CR_WRITE_TRAP = 0x8F, 0x90
MWAIT, MWAIT_CONDITIONAL, BUSLOCK, IDLE_HLT = 0x8B, 0x8C, 0xA5, 0xA6
LAST_BIT = IDLE_HLT
"""The codes up to this one are bits of the intercept vectors, counted from offset 000h (SVM-C-001)."""

_MISC = (
    "INTR NMI SMI INIT VINTR CR0_SEL_WRITE IDTR_READ GDTR_READ LDTR_READ TR_READ IDTR_WRITE GDTR_WRITE LDTR_WRITE "
    "TR_WRITE RDTSC RDPMC PUSHF POPF CPUID RSM IRET SWINT INVD PAUSE HLT INVLPG INVLPGA IOIO MSR TASK_SWITCH "
    "FERR_FREEZE SHUTDOWN VMRUN VMMCALL VMLOAD VMSAVE STGI CLGI SKINIT RDTSCP ICEBP WBINVD MONITOR MWAIT "
    "MWAIT_CONDITIONAL XSETBV RDPRU EFER_WRITE_TRAP"
)
_THIRD = "INVLPGB INVLPGB_ILLEGAL INVPCID MCOMMIT TLBSYNC BUSLOCK IDLE_HLT"


def _names() -> dict[int, str]:
    registers = (("CR{}_READ", CR_READ), ("CR{}_WRITE", CR_WRITE), ("DR{}_READ", DR_READ), ("DR{}_WRITE", DR_WRITE))
    found = {base + n: form.format(n) for form, base in registers for n in range(16)}
    found |= {EXCEPTION + n: "EXCP_" + EXCEPTIONS.get(n, f"#{n}")[1:] for n in range(32)}
    found |= {INTR + n: name for n, name in enumerate(_MISC.split())}
    found |= {CR_WRITE_TRAP + n: f"CR{n}_WRITE_TRAP" for n in range(16)}
    found |= {0xA0 + n: name for n, name in enumerate(_THIRD.split())}
    found |= {NPF: "NPF", AVIC_INCOMPLETE_IPI: "AVIC_INCOMPLETE_IPI", AVIC_NOACCEL: "AVIC_NOACCEL", VMGEXIT: "VMGEXIT"}
    return found | {INVALID: "INVALID", BUSY: "BUSY", IDLE_REQUIRED: "IDLE_REQUIRED", INVALID_PMC: "INVALID_PMC"}


NAMES = _names()
"""Every code that appendix C names, without ``VMEXIT_``."""

ERROR_CODES = frozenset((8, 10, 11, 12, 13, 14, 17, 21, 29, 30))
"""Exceptions that have an error code, which EXITINFO1 then holds (SVM-15.12-002)."""

IPI_REASONS = {0: "invalid interrupt type", 1: "target not running", 2: "invalid target",
               3: "invalid backing page", 4: "invalid vector"}  # fmt: skip
"""EXITINFO2[63:32] of an incomplete IPI (SVM-15.29-013)."""


def name(code: int) -> str:
    """The name of a code, or the number."""
    return NAMES.get(code, f"{code:#x}")


@dataclass(frozen=True)
class Io:
    """EXITINFO of IOIO (15.10): sizes in bytes, ``None`` unless exactly one bit says so."""

    port: int
    is_in: bool
    string: bool
    repeated: bool
    size: int | None
    address_size: int | None
    segment: int
    next_rip: int

    @classmethod
    @cites("SVM-15.10-008", "SVM-15.10-009", "SVM-15.10-010", "SVM-15.10-011", "SVM-15.10-012", "SVM-15.10-013")
    @cites("SVM-15.10-014", "SVM-15.10-015")
    def of(cls, info1: int, info2: int) -> Io:
        """From the two fields."""
        sizes = {1: 1, 2: 2, 4: 4}
        return cls(
            port=info1 >> 16 & 0xFFFF,
            is_in=bool(info1 & 1),
            string=bool(info1 & 4),
            repeated=bool(info1 & 8),
            size=sizes.get(info1 >> 4 & 7),
            address_size={1: 2, 2: 4, 4: 8}.get(info1 >> 7 & 7),
            segment=info1 >> 10 & 7,
            next_rip=info2,
        )

    def __str__(self) -> str:
        insn = ("IN" if self.is_in else "OUT") + ("S" if self.string else "")
        rep = "REP " if self.repeated else ""
        sizes = f"size={self.size} address_size={self.address_size}"
        return f"{rep}{insn} port={self.port:#x} {sizes} next_rip={self.next_rip:#x}"


NPF_BITS = {0: "present", 3: "reserved bit", 4: "fetch", 6: "shadow stack", 32: "on the final address",
            33: "on a guest's table", 37: "supervisor shadow-stack page"}  # fmt: skip
"""The bits of EXITINFO1 of a nested page fault, but for write (1) and user (2) (SVM-15.25.6-005 to -011)."""


@dataclass(frozen=True)
class Interrupted:
    """EXITINTINFO: the event during whose delivery the exit came (15.7.2). ``error`` is ``None`` when it has none."""

    kind: int
    vector: int
    error: int | None

    @classmethod
    @cites("SVM-15.7.2-001", "SVM-15.7.2-002", "SVM-15.7.2-007")
    def of(cls, value: int) -> Interrupted | None:
        """From the field; ``None`` when no event was under way."""
        if not value & Event.V:
            return None
        return cls(value >> 8 & 7, value & 0xFF, value >> 32 if value & Event.EV else None)

    def __str__(self) -> str:
        kinds = {Kind.INTERRUPT: "interrupt", Kind.NMI: "NMI", Kind.EXCEPTION: "exception",
                 Kind.SOFTWARE_INTERRUPT: "INTn"}  # fmt: skip
        what = kinds.get(Kind(self.kind)) if self.kind in tuple(Kind) else f"type {self.kind}"
        return f"{what} {self.vector}" + ("" if self.error is None else f" error={self.error:#x}")


@cites("SVM-C-002", "SVM-15.6-005", "SVM-15.11-006", "SVM-15.12-002", "SVM-15.12.15-001", "SVM-15.13.3-001")
@cites("SVM-15.14.1-003", "SVM-15.14.1-004", "SVM-15.14.1-005", "SVM-15.29-011", "SVM-15.29-012", "SVM-15.29-013")
@cites("SVM-15.25.6-004", "SVM-15.25.6-005", "SVM-15.25.6-006", "SVM-15.25.6-011")
def describe(code: int, info1: int, info2: int, decode_assists: bool = False) -> str:
    """What EXITINFO1 and EXITINFO2 say; empty where the manual gives them no meaning."""
    return ", ".join(_parts(code, info1, info2, decode_assists))


def _parts(code: int, info1: int, info2: int, decode_assists: bool) -> Iterator[str]:
    vector = code - EXCEPTION
    if code == IOIO:
        yield str(Io.of(info1, info2))
    elif code == MSR:
        yield "WRMSR" if info1 & 1 else "RDMSR"
    elif code == NPF:
        yield "write" if info1 & 2 else "read"
        yield from (text for bit, text in NPF_BITS.items() if info1 >> bit & 1)
        yield f"guest_physical={info2:#x}"
    elif 0 <= vector < 32 and vector in ERROR_CODES:
        yield f"error={info1 & 0xFFFF_FFFF:#x}"
        if vector == 14:
            yield f"address={info2:#x}"
    elif code == TASK_SWITCH:
        yield f"selector={info1 & 0xFFFF:#x}"
        yield from (text for bit, text in ((36, "IRET"), (38, "far jump")) if info2 >> bit & 1)
        if info2 >> 44 & 1:
            yield f"error={info2 & 0xFFFF_FFFF:#x}"
    elif code == SMI:
        yield "external" if info1 & 1 else "internal"
    elif code == AVIC_INCOMPLETE_IPI:
        yield f"icr={info1:#x}"
        yield IPI_REASONS.get(info2 >> 32, f"reason {info2 >> 32}")
    elif code == AVIC_NOACCEL:
        yield f"{'write' if info1 >> 32 & 1 else 'read'} offset={info1 & 0xFF0:#x}"
    elif decode_assists:
        yield from _assisted(code, info1)


@cites("SVM-15.8-002", "SVM-15.8-003", "SVM-15.8-004", "SVM-15.8-005", "SVM-15.8-006")
def _assisted(code: int, info1: int) -> Iterator[str]:
    """What decode assists add."""
    if code < DR_READ:
        yield f"register={info1 & 0xF}" if info1 >> 63 else "no MOV"
    elif code < EXCEPTION:
        yield f"register={info1 & 0xF}"
    elif code == INTN:
        yield f"vector={info1 & 0xFF:#x}"
    elif code == INVLPG:
        yield f"address={info1:#x}"


def defined(code: int, info1: int = 0, info2: int = 0, decode_assists: bool = False) -> tuple[int, int]:
    """Which bits of EXITINFO1 and EXITINFO2 mean something for a code, given their values; bits that must be 0 do.

    Of the others nothing may be expected.
    """
    everything, low = (1 << 64) - 1, 0xFFFF_FFFF
    vector = code - EXCEPTION
    fixed = {
        IOIO: (0xFFFF_1FFD, everything),
        MSR: (everything, 0),
        NPF: (0x23_0000_005F, everything),
        TASK_SWITCH: (0xFFFF, 0x1_1050_0000_0000 | (low if info2 >> 44 & 1 else 0)),
        SMI: (1, 0),
        AVIC_INCOMPLETE_IPI: (everything, low << 32),
        AVIC_NOACCEL: (0x1_0000_0FF0, 0),
        BUSLOCK: (everything, everything),
        EXCEPTION + 14: (low, everything),
    }
    if code in fixed:
        return fixed[code]
    if 0 <= vector < 32:
        return (low if vector in ERROR_CODES else 0), 0
    if decode_assists and code < DR_READ:
        return 1 << 63 | (0xF if info1 >> 63 else 0), 0
    if decode_assists and (code < EXCEPTION or code in (INTN, INVLPG)):
        return everything, 0
    return 0, 0
