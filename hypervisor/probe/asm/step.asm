; A step of a program: into it, and back at its end or at any exception.
;
; Purpose   Runs code of the program with given registers, and survives what it does. Here is what stays in long mode:
;           64-bit and compatibility mode; legacy.asm has the rest.
; Manual    APM vol. 2, 8.9 "Long-mode interrupt control transfers", 12.2.5 "64-bit TSS", 15.17 "Global interrupt flag".
; Memory    Its own GDT, IDT and TSS (src/tables.rs) are loaded only while a step runs; afterwards the caller's come
;           back, whatever the step did to the registers that name them.
; Contract  System V calls, 64-bit, CPL 0, interrupts off, flat segments. remember_host once, then run_step.

%include "crossing.inc"

bits 64
default rel
global remember_host, run_step, stubs64, restore, crossing, step_gdtr, step_idtr, legacy_idtr
global host_cr0, host_cr3, host_cr4
extern leave_long_mode

section .bss nobits alloc write align=16
crossing:       resb Crossing_size
host_rsp:       resq 1
host_cr0:       resq 1
host_cr3:       resq 1
host_cr4:       resq 1
host_gdtr:      resb 16
host_idtr:      resb 16
step_gdtr:      resb 16                 ; src/tables.rs fills these three
step_idtr:      resb 16
legacy_idtr:    resb 16

section .rodata progbits alloc noexec nowrite align=4
mxcsr_default:  dd MXCSR_DEFAULT

section .text progbits alloc exec nowrite align=16
; IN        nothing
; OUT       what `restore` brings back is known
; CLOBBERS  RAX
remember_host:
        sgdt    [host_gdtr]
        sidt    [host_idtr]
        mov     rax, cr0
        mov     [host_cr0], rax
        mov     rax, cr3
        mov     [host_cr3], rax
        mov     rax, cr4
        mov     [host_cr4], rax
        ret

; IN        the crossing
; OUT       the crossing holds what the step left; GIF = 1 if EFER.SVME is 1; FS.base, GS.base and LDTR are 0
; CLOBBERS  what a System V call may
run_step:
        push    rbx
        push    rbp
        push    r12
        push    r13
        push    r14
        push    r15
        mov     [host_rsp], rsp
        lgdt    [step_gdtr]
        lidt    [step_idtr]
        cmp     qword [crossing + Crossing.use_xmm], 0
        je      .no_xmm
%assign n 0
%rep 16
        movups  xmm %+ n, [crossing + Crossing.xmm + 16 * n]
    %assign n n + 1
%endrep
.no_xmm:
        cmp     qword [crossing + Crossing.time], 0
        je      .no_time
        rdtsc
        mov     [crossing + Crossing.time], eax
        mov     [crossing + Crossing.time + 4], edx
.no_time:
        cmp     dword [crossing + Crossing.way], WAY_LONG
        jne     leave_long_mode

        mov     rbx, [step_gdtr + 2]
        and     byte [rbx + TASK64 + TYPE_OFFSET], ~TSS_BUSY
        mov     eax, TASK64
        ltr     ax
        mov     rax, [crossing + Crossing.ss]
        mov     ds, eax
        mov     es, eax
        push    rax
        push    qword [crossing + Crossing.rsp]
        push    qword [crossing + Crossing.rflags]
        push    qword [crossing + Crossing.cs]
        push    qword [crossing + Crossing.rip]
%macro load_register 1-*
    %rep %0
        mov     %1, [crossing + Crossing. %+ %1]
        %rotate 1
    %endrep
%endmacro
        load_register rax, rcx, rdx, rbx, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15
        iretq

; One for each vector, STUB_SIZE bytes apart.
align STUB_SIZE, int3
stubs64:
%assign n 0
%rep VECTORS
        align   STUB_SIZE, int3
    %if n >= 32 || ((ERROR_CODE_VECTORS >> n) & 1) == 0
        push    0                       ; in place of an error code
    %endif
        push    strict dword n
        jmp     strict near leave_step
    %assign n n + 1
%endrep

; IN        vector, error code and the processor's frame on the stack; all else as the step left it
; OUT       returns from run_step
leave_step:
%macro store_register 1-*
    %rep %0
        mov     [crossing + Crossing. %+ %1], %1
        %rotate 1
    %endrep
%endmacro
        store_register rax, rcx, rdx, rbx, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15
        pop     qword [crossing + Crossing.vector]
        pop     qword [crossing + Crossing.error]
        pop     qword [crossing + Crossing.rip]
        pop     qword [crossing + Crossing.cs]
        pop     qword [crossing + Crossing.rflags]
        pop     qword [crossing + Crossing.rsp]
        mov     ecx, MSR_EFER
        rdmsr
        mov     [crossing + Crossing.efer], eax
        mov     [crossing + Crossing.efer + 4], edx

; Long mode, CPL 0, and all else as the step or legacy.asm left it.
; IN        the crossing, but for CR2, the time and XMM
; OUT       returns from run_step
restore:
        mov     rsp, [host_rsp]
        cmp     qword [crossing + Crossing.time], 0
        je      .no_time
        rdtsc
        shl     rdx, 32
        or      rax, rdx
        sub     rax, [crossing + Crossing.time]
        mov     [crossing + Crossing.time], rax
.no_time:
        mov     rax, cr2
        mov     [crossing + Crossing.cr2], rax
        ; Only what differs is written: a write throws translations away. CR4 first: CR0.WP cannot go while CR4.CET is 1.
%macro restore_register 2
        mov     rax, %1
        mov     rdx, %2
        cmp     rax, rdx
        je      %%same
        mov     %1, rdx
%%same:
%endmacro
        restore_register cr4, [host_cr4]
        restore_register cr3, [host_cr3]
        restore_register cr0, [host_cr0]
        mov     rax, dr7
        cmp     rax, DR7_CLEAN
        je      .dr7_is_clean
        mov     eax, DR7_CLEAN
        mov     dr7, rax
.dr7_is_clean:
        lgdt    [host_gdtr]
        lidt    [host_idtr]
        mov     rbx, [host_gdtr + 2]
        and     byte [rbx + TASK64 + TYPE_OFFSET], ~TSS_BUSY
        mov     eax, TASK64
        ltr     ax
        xor     edx, edx
        lldt    dx
        mov     eax, KERNEL_DATA
        mov     ds, eax
        mov     es, eax
        mov     fs, eax                 ; base 0; a null selector need not clear it
        mov     gs, eax
        mov     fs, edx
        mov     gs, edx

        ; IRETQ rather than a jump: it loads CS, SS and clean flags, and ends the blocking of NMIs.
        lea     rcx, [.resumed]
        push    rax
        push    qword [host_rsp]
        push    RFLAGS_CLEAN
        push    KERNEL_CODE
        push    rcx
        iretq
RFLAGS_CLEAN    equ 2                   ; the bit that reads as 1
.resumed:
        cmp     qword [crossing + Crossing.use_xmm], 0
        je      .no_xmm
%assign n 0
%rep 16
        movups  [crossing + Crossing.xmm + 16 * n], xmm %+ n
    %assign n n + 1
%endrep
.no_xmm:
        fninit
        ldmxcsr [mxcsr_default]
        bt      dword [crossing + Crossing.efer], EFER_SVME_BIT
        jnc     .gif_is_set
        stgi                            ; a #VMEXIT leaves GIF at 0 (15.17)
.gif_is_set:
        pop     r15
        pop     r14
        pop     r13
        pop     r12
        pop     rbp
        pop     rbx
        ret
