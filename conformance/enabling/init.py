"""An INIT that the program survives: firmware leads the processor back to it from the reset vector.

It does so where the byte 0Fh of CMOS says 0Ah: then it jumps, in real mode, to where 40h:67h points. So do our own ROM
for Bochs and the firmware of QEMU's PC.
"""

from conformance.enabling.test_r_init import APIC, INIT
from harness.lab.assemble import assemble
from harness.lab.program import LOW
from harness.machine.registers import EFER_LMA
from harness.msr import CPUID_SVM, SVML, Msr, VmCr

_POINTER = 0x467
_SEEN, _GDTR, _IDTR, _TR, _CR0, _CR3, _CR4, _EFER, _RSP, _CS, _BACK, _OWN = (0x800 + 16 * n for n in range(12))
"""Where the program keeps, in the segment of the code that gets it back, what an INIT takes from it."""

_GET_BACK = assemble(
    f"""
    cli
    mov ax, cs
    mov ds, ax
    mov ecx, {Msr.VM_CR:#x}
    rdmsr
    mov [{_SEEN:#x}], eax
    o32 lgdt [{_OWN:#x}]
    mov eax, [{_CR4:#x}]
    mov cr4, eax
    mov eax, [{_CR3:#x}]
    mov cr3, eax
    mov ecx, {Msr.EFER:#x}
    mov eax, [{_EFER:#x}]
    and eax, ~{EFER_LMA:#x}
    xor edx, edx
    wrmsr
    mov eax, [{_CR0:#x}]
    mov cr0, eax
    jmp dword 8:{LOW:#x} + wide
    align 8
    gdt: dq 0, 0x00AF9B000000FFFF, 0x00CF93000000FFFF
    bits 64
    wide:
    mov eax, 16
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov rsp, [{LOW + _RSP:#x}]
    lgdt [{LOW + _GDTR:#x}]
    lidt [{LOW + _IDTR:#x}]
    push qword [{LOW + _CS:#x}]
    push qword [{LOW + _BACK:#x}]
    retfq
    times 0x700 - ($ - $$) db 0
    dw 23
    dd {LOW:#x} + gdt
    """,
    16,
    org=0,
)
_GDT_POINTER = 0x700

MEMORY = {LOW: _GET_BACK.ljust(_OWN, b"\0") + _GET_BACK[_GDT_POINTER : _GDT_POINTER + 6]}

SENT = f"""
    mov eax, {CPUID_SVM:#x}
    cpuid
    mov ebx, -1
    test edx, {SVML:#x}
    jz near never
    mov ecx, {Msr.VM_CR:#x}
    rdmsr
    test al, {VmCr.SVMDIS:#x}
    jz near never
    sgdt [{LOW + _GDTR:#x}]
    sidt [{LOW + _IDTR:#x}]
    str [{LOW + _TR:#x}]
    mov rax, cr0
    mov [{LOW + _CR0:#x}], rax
    mov rax, cr3
    mov [{LOW + _CR3:#x}], rax
    mov rax, cr4
    mov [{LOW + _CR4:#x}], rax
    mov ecx, {Msr.EFER:#x}
    rdmsr
    mov [{LOW + _EFER:#x}], eax
    mov [{LOW + _RSP:#x}], rsp
    mov eax, cs
    mov [{LOW + _CS:#x}], rax
    lea rax, [rel back]
    mov [{LOW + _BACK:#x}], rax
    mov dword [{_POINTER:#x}], {LOW >> 4 << 16:#x}
    mov al, 0x0F
    out 0x70, al
    mov al, 0x0A
    out 0x71, al
    mov edi, {APIC:#x}
    mov dword [rdi + 0xF0], 0x1FF
    mov edx, [rdi + 0x20]
    mov [rdi + 0x310], edx
    mov dword [rdi + 0x300], {INIT:#x}
    jmp $
back:
    mov rdi, [{LOW + _GDTR + 2:#x}]
    movzx ecx, word [{LOW + _TR:#x}]
    and byte [rdi + rcx + 5], ~2
    ltr cx
    mov ebx, [{LOW + _SEEN:#x}]
never:
"""
"""Where there is SVM-Lock and SVMDIS is set: EBX is VM_CR as it is after the INIT. Elsewhere it is -1, with no INIT."""
