"""Guests that raise one exception each.

They have descriptor tables of their own: what a GDT needs for the selector faults, and no IDT unless they say so, so an
exception that is not intercepted ends in #GP for the gate that is not there.
"""

from __future__ import annotations

from typing import Any

from conformance.descriptors import descriptor
from conformance.intercepts.tried import NOWHERE, Changes, Try, tried
from harness.lab import places
from harness.lab.guest import Mode
from harness.model import exits
from harness.model.registers import Cr0, Cr4, Efer

DE, DB, _, BP, OF, BR, UD, NM, DF, _, TS, NP, SS, GP, PF, _, MF, AC, MC, XF = (
    exits.EXCEPTION + vector for vector in range(20)
)

GDT = places.DATA + 0x2000
CODE, DATA, ABSENT, SHORT_TSS = 8, 16, 24, 32
"""Selectors: flat code, flat data, data that is not present, a TSS whose limit is too small."""

BEYOND = 0x7F8
"""A selector that the GDT's limit leaves out."""

_FLAT = 0xFFFFF
_TABLE = (
    bytes(8)
    + descriptor(0xC, 0x9B, _FLAT)
    + descriptor(0xC, 0x93, _FLAT)
    + descriptor(0xC, 0x13, _FLAT)
    + descriptor(0, 0x89, 0x10, GDT)
)
_GDT: Changes = {"gdtr__base": GDT, "gdtr__limit": len(_TABLE) - 1}

PAGED = Cr0.PE | Cr0.ET | Cr0.PG
SSE = Cr4.PAE | Cr4.OSFXSR | Cr4.OSXMMEXCPT
NON_CANONICAL = 1 << 63
ONE = places.DATA + 0x4000
"""A double-precision 1.0, and zeros behind it."""

_MEMORY = {GDT: _TABLE, ONE: bytes.fromhex("000000000000f03f")}


ELSEWHERE = NOWHERE + (1 << 28)
IDT_NOWHERE: Changes = {"idtr__base": ELSEWHERE, "idtr__limit": 0xFFF}
"""Whatever is delivered raises #PF on the way to its gate."""


def raises(
    insn: str,
    *intercepted: int,
    before: str = "",
    mode: Mode = Mode.LONG,
    endless: bool = False,
    **changes: Any,
) -> Try:
    """The instruction with intercepts of these exceptions, and of no others."""
    return tried(
        insn, *intercepted, before=before, mode=mode, having=_MEMORY, catch=(), endless=endless, **_GDT | changes
    )


MXCSR = "mov dword [rsp-8], 0x1D80\nldmxcsr [rsp-8]"
"""Division by zero is not masked."""

X87 = "fninit\nmov word [rsp-8], 0x37B\nfldcw [rsp-8]\nfldz\nfld1\nfdivrp"
"""A division by zero, which is not masked: the next instruction of the x87 that waits raises #MF."""

RAISED = {
    "#DE": raises("div cl", DE),
    "#DB": raises("nop", DB, rflags=0x102),
    "#BP": raises("int3", BP),
    "#OF": raises("into", OF, before="mov cl, 0x7F\nadd cl, cl", mode=Mode.PAGED),
    "#BR": raises(f"bound ecx, [{ONE + 8:#x}]", BR, before="mov ecx, 5", mode=Mode.PAGED),
    "#UD": raises("ud2", UD),
    "#NM": raises("fld1", NM, cr0=PAGED | Cr0.TS),
    "#DF": raises("div cl", DF),
    "#TS": raises(f"jmp {SHORT_TSS}:0", TS, mode=Mode.PAGED, tr__base=GDT, tr__limit=0x67, tr__attrib=0x8B),
    "#NP": raises("mov ds, ecx", NP, rcx=ABSENT),
    "#SS": raises("mov ss, ecx", SS, rcx=ABSENT),
    "#GP": raises("mov ds, ecx", GP, rcx=BEYOND),
    "#GP of an address": raises("mov al, [rcx]", GP, rcx=NON_CANONICAL),
    "#PF": raises("mov al, [rcx]", PF, rcx=NOWHERE),
    "#PF of a write": raises("mov [rcx], al", PF, rcx=NOWHERE + 0x123),
    "#PF of a user": raises("mov [rcx], al", PF, rcx=NOWHERE, cpl=3),
    "#PF of a fetch": raises("jmp rcx", PF, rcx=NOWHERE, efer=Efer.SVME | Efer.LME | Efer.LMA | Efer.NXE),
    "#PF in paged real mode": raises("mov [es:di], al", PF, endless=True, mode=Mode.PAGED_REAL, es__base=NOWHERE),
    "#MF": raises("fwait", MF, before=X87, cr0=PAGED | Cr0.NE),
    "#AC": raises("mov ecx, [rcx]", AC, rcx=places.DATA + 1, cpl=3, cr0=PAGED | Cr0.AM, rflags=1 << 18 | 2),
    "#XF": raises("divpd xmm0, xmm1", XF, before=f"{MXCSR}\nmovupd xmm0, [{ONE:#x}]\nxorpd xmm1, xmm1", cr4=SSE),
}
"""Each intercepts what it raises: the name says what that is."""
