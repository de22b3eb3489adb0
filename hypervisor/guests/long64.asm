; long64: enters 64-bit mode with its own page tables and tells its control registers.
;
; Witness   CR0, CR4, EFER, CR3, as the guest reads them.
; Ends      status 0

%include "guest.inc"
%include "longmode.inc"

main:
        mov     ebx, text
        mov     ecx, text_length
        hypercall CALL_PRINT
        mov     rbx, cr0
        witness 'CR0', rbx
        mov     rbx, cr4
        witness 'CR4', rbx
        mov     ecx, MSR_EFER
        rdmsr
        shl     rdx, 32
        or      rax, rdx
        mov     rbx, rax
        witness 'EFER', rbx
        mov     rcx, rbx
        mov     rbx, 'EFER'
        hypercall CALL_RECORD
        mov     rbx, cr3
        witness 'CR3', rbx
        finish  STATUS_GOOD

text:                   db "hello from 64-bit mode"
text_length             equ $ - text
