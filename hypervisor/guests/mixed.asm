; mixed: every kind of exit that a hypervisor handles all day, `count` rounds.
;
; Witness   MIXED = number of rounds done; a round whose answers are wrong is the last, and the status is 1.
; Ends      status 0

%include "guest.inc"
%include "longmode.inc"

CPUID_VENDOR            equ 0
POST_PORT               equ 80h
FLOATING_BUS            equ 0FFh

main:
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
        and     eax, EFER_LMA | EFER_SVME
        cmp     eax, EFER_LMA
        jne     .wrong
        in      al, POST_PORT
        cmp     al, FLOATING_BUS
        jne     .wrong
        out     POST_PORT, al
        hypercall CALL_NOTHING
        test    rax, rax
        jnz     .wrong
        inc     r12
        jmp     .round
.done:  witness 'MIXED', r12
        finish  STATUS_GOOD
.wrong: witness 'MIXED', r12
        finish  STATUS_WRONG
