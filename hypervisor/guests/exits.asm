; exits: what exits of an operating system all day, one of each, `count` rounds: CPUID, RDMSR and WRMSR of EFER, VMMCALL, a
; store to the local APIC.
;
; Needs     a whole machine: guest=pc.exits (2 MiB of its own have no APIC)
; Witness   EXITS = number of rounds done; a round whose answers are wrong is the last, and the status is 1.
; Ends      status 0

%include "guest.inc"
%include "longmode.inc"

APIC                    equ 0FEE00000h
APIC_EOI                equ 0B0h
APIC_PD                 equ 26000h      ; maps the last of the first 4 GiB
GIB_SHIFT               equ 30
LARGE_SHIFT             equ 21
LARGE_MASK              equ 1FFh
CPUID_VENDOR            equ 0

main:
        mov     edi, APIC_PD
        xor     eax, eax
        mov     ecx, 1000h / 8
        rep stosq
        mov     qword [PDPT + (APIC >> GIB_SHIFT) * 8], APIC_PD | PTE_TABLE
        mov     eax, (APIC >> LARGE_SHIFT << LARGE_SHIFT) | PTE_TABLE | PTE_LARGE
        mov     [APIC_PD + (APIC >> LARGE_SHIFT & LARGE_MASK) * 8], rax
        mov     r14d, APIC

        mov     eax, CPUID_VENDOR
        cpuid
        mov     r13d, ebx               ; the answer to expect
        xor     r12d, r12d              ; rounds done
.round: cmp     r12, [COUNT]
        je      .done
        mov     eax, CPUID_VENDOR
        cpuid
        cmp     ebx, r13d
        jne     .wrong
        mov     ecx, MSR_EFER
        rdmsr
        test    eax, EFER_LMA
        jz      .wrong
        wrmsr
        mov     dword [r14 + APIC_EOI], 0
        hypercall CALL_NOTHING
        test    rax, rax
        jnz     .wrong
        inc     r12
        jmp     .round
.done:  witness 'EXITS', r12
        finish  STATUS_GOOD
.wrong: witness 'EXITS', r12
        finish  STATUS_WRONG
