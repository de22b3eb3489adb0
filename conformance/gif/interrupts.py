"""Code that sends the processor an interrupt of its own local APIC, and tells when it was taken.

An interrupt ends a step, and what sends the next ends its service first. Each piece of code counts in EBX how far it
came: the count at the end is where the interrupt was taken.
"""

VECTOR, NMI = 0x50, 2

_APIC = 0xFEE0_0000

WAIT = """
    mov ecx, 200
%%again:
    pause
    loop %%again
"""
"""Time for an interrupt to arrive: engines look for one between instructions, or between blocks of them."""

_MACROS = f"""
%macro wait_a_little 0
{WAIT}
%endmacro

%macro send 1
    mov edi, {_APIC:#x}
    mov dword [rdi + 0xF0], 0x1FF
    mov dword [rdi + 0xB0], 0
    mov edx, [rdi + 0x20]
    mov [rdi + 0x310], edx
    mov dword [rdi + 0x300], %1
    wait_a_little
%endmacro

%define send_interrupt send 0x4000 + {VECTOR:#x}
%define send_nmi send 0x4400
"""


def source(code: str) -> str:
    """The code, which may use ``send_interrupt``, ``send_nmi`` and ``wait_a_little`` (they change ECX, EDX, RDI)."""
    return _MACROS + code
