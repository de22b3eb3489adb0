; lengths: one instruction that may exit after the other, each of another length, all at one address. A hypervisor that takes
; one for as long as another goes on in the midst of it.
;
; First the guest writes each over the one before; then it leaves the code alone and changes the page table above it.
; Each comes in a second time, because a hypervisor may have remembered the first.
;
; Witness   LENGTHS = number of instructions that were followed by what follows them
; Ends      status 0

%include "guest.inc"
%include "longmode.inc"

SPOT                    equ 26000h      ; where they are written; the first of PAGES pages of code
PAGES                   equ 4
PT                      equ 2A000h      ; maps WINDOW
WINDOW                  equ 200000h
PAGE_SHIFT              equ 12
CODE_SIZE               equ 16

; An instruction, and then what notes that it was left at its end: INC R12; RET
%macro code 1+
%%start:
        db      %1
        db      49h, 0FFh, 0C4h, 0C3h
        times   CODE_SIZE - ($ - %%start) db 90h
%endmacro

main:
        xor     r12d, r12d              ; instructions followed by what follows them
        mov     r13d, codes
.write: mov     r14d, 2                 ; twice as it is
.again: mov     rax, [r13]
        mov     [SPOT], rax
        mov     rax, [r13 + 8]
        mov     [SPOT + 8], rax
        call    enter
        dec     r14d
        jnz     .again
        add     r13d, CODE_SIZE
        cmp     r13d, codes_end
        jne     .write

        mov     edi, PT
        xor     eax, eax
        mov     ecx, 1000h / 8
        rep stosq
        mov     qword [PD + (WINDOW >> 21) * 8], PT | PTE_TABLE
        mov     r13d, codes
        mov     ebx, SPOT
.lay:   mov     rax, [r13]
        mov     [rbx], rax
        mov     rax, [r13 + 8]
        mov     [rbx + 8], rax
        add     r13d, CODE_SIZE
        add     ebx, 1 << PAGE_SHIFT
        cmp     ebx, SPOT + (PAGES << PAGE_SHIFT)
        jne     .lay
        mov     r13d, SPOT | PTE_TABLE
.map:   mov     [PT], r13
        invlpg  [WINDOW]
        mov     r14d, 2
.there: mov     eax, 0
        mov     ebp, WINDOW
        call    rbp
        dec     r14d
        jnz     .there
        add     r13d, 1 << PAGE_SHIFT
        cmp     r13d, (SPOT + (PAGES << PAGE_SHIFT)) | PTE_TABLE
        jne     .map
        witness 'LENGTHS', r12
        finish  STATUS_GOOD

; IN        code at SPOT
; OUT       executed
; CLOBBERS  RAX RBX RCX RDX RBP
enter:  xor     eax, eax
        mov     ebp, SPOT
        jmp     rbp

; CPUID, with prefixes that mean nothing to it; and PAUSE, which exits only where there is a filter for it.
align 8, db 0
codes:  code    0Fh, 0A2h
        code    66h, 0Fh, 0A2h
        code    2Eh, 66h, 0Fh, 0A2h
        code    48h, 0Fh, 0A2h
        code    0Fh, 0A2h
        code    3Eh, 2Eh, 66h, 67h, 0Fh, 0A2h
        code    0F3h, 90h
        code    2Eh, 2Eh, 2Eh, 2Eh, 2Eh, 2Eh, 2Eh, 2Eh, 66h, 0Fh, 0A2h
codes_end:
