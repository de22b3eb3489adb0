"""A handler of our own in system management mode, and SMIs that the processor sends itself.

Where there is no chipset of a PC, or none that closes SMRAM, SMM has its area at 30000h, as after a reset. The firmware
of QEMU's PC moves it to A0000h, behind which it does not lock the chipset (an i440FX): SMRAM can be opened there.
"""

from conformance.gif.interrupts import source
from harness.cases import NotRun
from harness.lab import places
from harness.lab.assemble import assemble
from harness.lab.program import Step
from harness.lab.seen import Seen
from harness.lab.steps import code

HANDLER = 0x3_8000
"""Physical address of the handler, and of its copy for SMRAM."""

COUNT, MARK = places.DATA + 0x8000, places.DATA + 0x8008
"""How often the handler has begun, and how often it came through."""

SAVED, SAVED_SIZE = places.DATA + 0x9000, 0x200
"""Where it copies the save area to."""

ADDED = 0x100
"""What it adds to the RBX that was saved."""

FIELDS = {"rbx": 0xFFE0, "rsp": 0xFFD8, "rip": 0xFF78, "cr0": 0xFF58, "cr3": 0xFF50, "efer": 0xFED0}
"""Offsets in the area, as 64-bit processors of AMD's have them (volume 2, table 10-1)."""

_START = 0x10000 - SAVED_SIZE

_HANDLER = assemble(
    f"""
    a32 inc dword [dword {COUNT:#x}]
    mov ax, cs
    movzx ebp, ax
    shl ebp, 4
    lea esi, [ebp + {_START:#x}]
    mov edi, {SAVED:#x}
    mov ecx, {SAVED_SIZE // 4}
    cld
    a32 rep movsd
    a32 add dword [ebp + {FIELDS["rbx"]:#x}], {ADDED}
    xor eax, eax
    cpuid
    a32 inc dword [dword {MARK:#x}]
    rsm
    """,
    16,
    org=0x8000,
)

MEMORY = {HANDLER: _HANDLER}
WATCHES = {COUNT: 16, SAVED: SAVED_SIZE}

_I440FX, _SMRAM, _OPEN, _CLOSED = 0x1237_8086, 0x8000_0070, 0x4A, 0x0A
_INTO_SMRAM = """
    mov dx, 0xCF8
    mov eax, 0x80000000
    out dx, eax
    mov dx, 0xCFC
    in eax, dx
    cmp eax, {chipset:#x}
    jne without
    mov dx, 0xCF8
    mov eax, {register:#x}
    out dx, eax
    mov dx, 0xCFE
    mov al, {open:#x}
    out dx, al
    mov esi, {handler:#x}
    mov edi, 0xA8000
    mov ecx, {length}
    rep movsb
    mov al, {closed:#x}
    out dx, al
without:
"""

SMI = 0x4200
"""For the command register of the local APIC."""


def first(handler: bytes = _HANDLER) -> tuple[Step, ...]:
    """Steps that put the handler into SMRAM, where there is such a thing, and send an SMI for the host."""
    into_smram = _INTO_SMRAM.format(
        chipset=_I440FX, register=_SMRAM, open=_OPEN, closed=_CLOSED, handler=HANDLER, length=len(handler)
    )
    return code(into_smram, name="handler"), code(source(f"send {SMI:#x}"), name="host")


def count(ran: Seen, name: str, what: int = COUNT) -> int:
    """How often the handler had begun, or come through, when a step had ended."""
    number = next(n for n, step in enumerate(ran.program.steps) if step.name == name)
    return int.from_bytes(ran.memory(what, 4, number), "little")


def has_smm(ran: Seen) -> None:
    """An SMI that the host sends itself comes to the handler, and back."""
    if ran["host"].vector is not None or count(ran, "host") != 1 or count(ran, "host", MARK) != 1:
        raise NotRun("the machine has no SMM that can be had: an SMI of the host does not come to the handler")
