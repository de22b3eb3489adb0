"""INIT, which is only sent where VM_CR.R_INIT turns it into #SX: else it would end the program with the processor."""

from conformance.gif.interrupts import source
from harness.lab.seen import Seen
from harness.lab.steps import rdmsr, wrmsr
from harness.msr import Msr, VmCr

SX = 30
_INIT = 5 << 8 | 1 << 14

REDIRECTED = (wrmsr(Msr.VM_CR, VmCr.R_INIT), rdmsr(Msr.VM_CR).model_copy(update={"name": "VM_CR"}))
"""Steps that set R_INIT, and look whether it is set."""

_MACRO = f"""
%macro send_init 0
    mov ecx, {Msr.VM_CR:#x}
    rdmsr
    test al, {VmCr.R_INIT:#x}
    jz %%never
    mov edi, 0xFEE00000
    mov dword [rdi + 0xF0], 0x1FF
    mov edx, [rdi + 0x20]
    mov [rdi + 0x310], edx
    mov dword [rdi + 0x300], {_INIT:#x}
    wait_a_little
%%never:
%endmacro
"""


def init_source(code: str) -> str:
    """The code, which may use ``send_init`` (it changes EAX, ECX, EDX, RDI) and ``wait_a_little``."""
    return source(_MACRO + code)


def redirected(ran: Seen) -> None:
    """R_INIT is set, so an INIT was sent."""
    assert ran["VM_CR"].value & VmCr.R_INIT, "R_INIT could not be set"
