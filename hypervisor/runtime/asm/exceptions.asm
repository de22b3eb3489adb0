; Exceptions and interrupts: one stub for each vector, and the way to Rust and back.
;
; Purpose   Gives every vector the same frame (src/exception.rs, struct Frame) and calls exception_entry with it.
; Manual    APM vol. 2, 8.9 "Long-mode interrupt control transfers".
; Contract  Every gate switches to an IST stack, unless src/descriptors.rs was told otherwise: a fault in the host should
;           not depend on a sane RSP. Where one does not, nothing is lost: no code here keeps anything below RSP.

bits 64
extern exception_entry
global exception_stubs

VECTORS                 equ 256
STUB_SIZE               equ 16          ; src/descriptors.rs computes the addresses
FXSAVE_SIZE             equ 512
FXSAVE_ALIGN            equ 16
; Vectors for which the processor pushes an error code: #DF #TS #NP #SS #GP #PF #AC #CP #VC #SX.
ERROR_CODE_VECTORS      equ 1<<8 | 1<<10 | 1<<11 | 1<<12 | 1<<13 | 1<<14 | 1<<17 | 1<<21 | 1<<29 | 1<<30

section .text progbits alloc exec nowrite align=16
; IN        an interrupt frame from the processor
; OUT       the frame as exception_entry left it is loaded by IRETQ
exception_stubs:
%assign vector 0
%rep VECTORS
        align   STUB_SIZE, int3
    %if vector >= 32 || ((ERROR_CODE_VECTORS >> vector) & 1) == 0
        push    0                       ; in place of an error code
    %endif
        push    strict dword vector
        jmp     strict near enter_rust
    %assign vector vector + 1
%endrep

; IN        error code and vector on top of the processor's frame
; OUT       returns to the interrupted code, all registers (SSE and x87 too) as in the frame
enter_rust:
        push    rax
        push    rbx
        push    rcx
        push    rdx
        push    rsi
        push    rdi
        push    rbp
        push    r8
        push    r9
        push    r10
        push    r11
        push    r12
        push    r13
        push    r14
        push    r15
        cld
        mov     rdi, rsp                ; struct Frame
        mov     rbp, rsp
        sub     rsp, FXSAVE_SIZE
        and     rsp, -FXSAVE_ALIGN
        fxsave64 [rsp]
        call    exception_entry
        fxrstor64 [rsp]
        mov     rsp, rbp
        pop     r15
        pop     r14
        pop     r13
        pop     r12
        pop     r11
        pop     r10
        pop     r9
        pop     r8
        pop     rbp
        pop     rdi
        pop     rsi
        pop     rdx
        pop     rcx
        pop     rbx
        pop     rax
        add     rsp, 16                 ; vector and error code
        iretq
