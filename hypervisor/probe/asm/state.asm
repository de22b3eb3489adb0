; What a program finds as it was after boot, and no step's end brings back: registers, and no interrupt pending.
;
; Contract  System V calls, 64-bit, CPL 0. Only what differs is written: under a hypervisor a write may be intercepted.

bits 64
default rel
global reset_registers, let_interrupts_in

DR6_CLEAN               equ 0FFFF0FF0h

section .text progbits alloc exec nowrite align=16
; IN        nothing
; OUT       CR2 and DR0 to DR3 are 0, DR6 is as at reset
; CLOBBERS  RAX RDX
reset_registers:
        xor     eax, eax
        mov     cr2, rax
%assign n 0
%rep 4
        mov     rdx, dr %+ n
        test    rdx, rdx
        jz      .clean %+ n
        mov     dr %+ n, rax
.clean %+ n:
    %assign n n + 1
%endrep
        mov     eax, DR6_CLEAN
        mov     rdx, dr6
        cmp     rdx, rax
        je      .done
        mov     dr6, rax
.done:  ret

; IN        nothing
; OUT       every interrupt that was pending has been taken
; CLOBBERS  nothing
let_interrupts_in:
        sti
        nop                             ; the instruction after STI is shadowed
        nop
        cli
        ret
