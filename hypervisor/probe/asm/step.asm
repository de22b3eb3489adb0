; A step of a program: into it, and back at its end or at any exception.
;
; Purpose   Runs code of the program at CPL 0 or 3 with given registers, and survives what it does.
; Manual    APM vol. 2, 8.9 "Long-mode interrupt control transfers", 12.2.5 "64-bit TSS", 15.17 "Global interrupt flag".
; Memory    Its own GDT, IDT and TSS are loaded only while a step runs; afterwards the caller's come back, whatever the
;           step did to the registers that name them.
; Contract  System V calls, 64-bit, CPL 0, interrupts off, flat segments. build_step_tables once, then run_step.

bits 64
default rel
global build_step_tables, run_step

VECTORS                 equ 256
STUB_SIZE               equ 16
GATE_SIZE               equ 16
GATE_DPL3_INTERRUPT     equ 0EEh        ; present, DPL 3, 64-bit interrupt gate
GATE_DPL0_INTERRUPT     equ 08Eh
GATE_TYPE_OFFSET        equ 5
GATE_IST_OFFSET         equ 4
VECTOR_DOUBLE_FAULT     equ 8
VECTOR_END              equ 81h         ; docs/protocol.md: INT 81h ends a step
; Vectors for which the processor pushes an error code: #DF #TS #NP #SS #GP #PF #AC #CP #VC #SX.
ERROR_CODE_VECTORS      equ 1<<8 | 1<<10 | 1<<11 | 1<<12 | 1<<13 | 1<<14 | 1<<17 | 1<<21 | 1<<29 | 1<<30

; The selectors of runtime/src/descriptors.rs: the caller's table and this one's have the same order.
KERNEL_CODE             equ 1 << 3
KERNEL_DATA             equ 2 << 3
USER_DATA               equ 3 << 3 | 3
USER_CODE               equ 4 << 3 | 3
TASK                    equ 5 << 3
TSS_AVAILABLE           equ 89h         ; present, 64-bit TSS
TSS_BUSY                equ 2           ; in the descriptor's byte 5
TYPE_OFFSET             equ 5
DESCRIPTOR_KERNEL_CODE  equ 00AF9B000000FFFFh
DESCRIPTOR_KERNEL_DATA  equ 00CF93000000FFFFh
DESCRIPTOR_USER_DATA    equ 00CFF3000000FFFFh
DESCRIPTOR_USER_CODE    equ 00AFFB000000FFFFh

RFLAGS_CLEAN            equ 2           ; the bit that reads as 1
MSR_EFER                equ 0C0000080h
EFER_SVME               equ 12
MSR_FS_BASE             equ 0C0000100h
MSR_GS_BASE             equ 0C0000101h
MXCSR_DEFAULT           equ 1F80h
STACK_SIZE              equ 4096

; src/step.rs asserts these offsets.
struc Crossing
.rax:           resq 1
.rbx:           resq 1
.rcx:           resq 1
.rdx:           resq 1
.rsi:           resq 1
.rdi:           resq 1
.r8:            resq 1
.r9:            resq 1
.r10:           resq 1
.r11:           resq 1
.rip:           resq 1
.rflags:        resq 1
.cr2:           resq 1
.vector:        resq 1
.error:         resq 1
.user:          resq 1
endstruc

; 12.2.5
struc Tss
                resd 1
.rsp0:          resq 1
                resq 2
                resq 1
.ist1:          resq 1
                resq 6
                resb 10
.io_map:        resw 1
endstruc

section .bss nobits alloc write align=4096
step_idt:       resb VECTORS * GATE_SIZE
step_stack:     resb STACK_SIZE         ; what the step finds in RSP
step_stack_top:
trap_stack:     resb STACK_SIZE         ; for exceptions at CPL 3
trap_stack_top:
spare_stack:    resb STACK_SIZE         ; for #DF, when a step at CPL 0 has spoilt RSP
spare_stack_top:
host_rsp:       resq 1
current:        resq 1                  ; the Crossing of the step that runs
step_tss:       resb Tss_size
host_gdtr:      resb 10
host_idtr:      resb 10

section .data progbits alloc write noexec align=16
step_gdt:       dq 0
                dq DESCRIPTOR_KERNEL_CODE
                dq DESCRIPTOR_KERNEL_DATA
                dq DESCRIPTOR_USER_DATA
                dq DESCRIPTOR_USER_CODE
step_gdt.tss:   dq 0, 0                 ; build_step_tables
step_gdt_end:
step_gdtr:      dw step_gdt_end - step_gdt - 1
                dq step_gdt
step_idtr:      dw VECTORS * GATE_SIZE - 1
                dq step_idt
mxcsr_default:  dd MXCSR_DEFAULT

section .text progbits alloc exec nowrite align=16
; IN        nothing
; OUT       step_gdt, step_idt and step_tss are complete
; CLOBBERS  RAX RCX RDX RDI
build_step_tables:
        ; Every gate leads to its stub. No IST, so that at CPL 0 a step may load any TSS and still end; but #DF uses
        ; one, as its usual cause here is a stack that cannot be pushed on.
        lea     rdi, [step_idt]
        lea     rax, [stubs]
        mov     ecx, VECTORS
.gate:  mov     [rdi], ax
        mov     word [rdi + 2], KERNEL_CODE
        mov     byte [rdi + GATE_IST_OFFSET], 0
        mov     byte [rdi + GATE_TYPE_OFFSET], GATE_DPL0_INTERRUPT
        mov     rdx, rax
        shr     rdx, 16
        mov     [rdi + 6], dx
        shr     rdx, 16
        mov     [rdi + 8], rdx
        add     rax, STUB_SIZE
        add     rdi, GATE_SIZE
        dec     ecx
        jnz     .gate
        mov     byte [step_idt + VECTOR_END * GATE_SIZE + GATE_TYPE_OFFSET], GATE_DPL3_INTERRUPT
        mov     byte [step_idt + VECTOR_DOUBLE_FAULT * GATE_SIZE + GATE_IST_OFFSET], 1

        lea     rax, [trap_stack_top]
        mov     [step_tss + Tss.rsp0], rax
        lea     rax, [spare_stack_top]
        mov     [step_tss + Tss.ist1], rax
        mov     word [step_tss + Tss.io_map], Tss_size  ; beyond the limit: CPL 3 has no ports

        lea     rax, [step_tss]
        mov     word [step_gdt.tss], Tss_size - 1
        mov     [step_gdt.tss + 2], ax
        shr     rax, 16
        mov     [step_gdt.tss + 4], al
        mov     byte [step_gdt.tss + TYPE_OFFSET], TSS_AVAILABLE
        mov     [step_gdt.tss + 7], ah
        shr     rax, 16
        mov     [step_gdt.tss + 8], rax
        ret

; IN        RDI = Crossing: registers, rip, user
; OUT       the Crossing holds what the step left; GIF = 1 if EFER.SVME is 1; FS.base, GS.base and LDTR are 0
; CLOBBERS  what a System V call may
run_step:
        push    rbx
        push    rbp
        push    r12
        push    r13
        push    r14
        push    r15
        mov     [host_rsp], rsp
        mov     [current], rdi
        sgdt    [host_gdtr]
        sidt    [host_idtr]
        and     byte [step_gdt.tss + TYPE_OFFSET], ~TSS_BUSY
        lgdt    [step_gdtr]
        lidt    [step_idtr]
        mov     eax, TASK
        ltr     ax

        mov     eax, KERNEL_DATA
        mov     edx, KERNEL_CODE
        cmp     qword [rdi + Crossing.user], 0
        je      .enter
        mov     eax, USER_DATA
        mov     edx, USER_CODE
.enter: mov     ds, eax
        mov     es, eax
        lea     rcx, [step_stack_top]
        push    rax
        push    rcx
        push    RFLAGS_CLEAN
        push    rdx
        push    qword [rdi + Crossing.rip]
        mov     rax, [rdi + Crossing.rax]
        mov     rbx, [rdi + Crossing.rbx]
        mov     rcx, [rdi + Crossing.rcx]
        mov     rdx, [rdi + Crossing.rdx]
        mov     rsi, [rdi + Crossing.rsi]
        mov     r8, [rdi + Crossing.r8]
        mov     r9, [rdi + Crossing.r9]
        mov     r10, [rdi + Crossing.r10]
        mov     r11, [rdi + Crossing.r11]
        mov     rdi, [rdi + Crossing.rdi]
        xor     ebp, ebp
        iretq

; One for each vector, STUB_SIZE bytes apart.
align STUB_SIZE, int3
stubs:
%assign vector 0
%rep VECTORS
        align   STUB_SIZE, int3
    %if vector >= 32 || ((ERROR_CODE_VECTORS >> vector) & 1) == 0
        push    0                       ; in place of an error code
    %endif
        push    strict dword vector
        jmp     strict near leave_step
    %assign vector vector + 1
%endrep

; IN        vector, error code and the processor's frame on the stack; all else as the step left it
; OUT       returns from run_step
leave_step:
        push    rax
        mov     rax, [current]
        mov     [rax + Crossing.rbx], rbx
        mov     [rax + Crossing.rcx], rcx
        mov     [rax + Crossing.rdx], rdx
        mov     [rax + Crossing.rsi], rsi
        mov     [rax + Crossing.rdi], rdi
        mov     [rax + Crossing.r8], r8
        mov     [rax + Crossing.r9], r9
        mov     [rax + Crossing.r10], r10
        mov     [rax + Crossing.r11], r11
        pop     qword [rax + Crossing.rax]
        pop     qword [rax + Crossing.vector]
        pop     qword [rax + Crossing.error]
        pop     qword [rax + Crossing.rip]
        pop     rbx                     ; CS
        pop     qword [rax + Crossing.rflags]
        mov     rbx, cr2
        mov     [rax + Crossing.cr2], rbx

        mov     rsp, [host_rsp]
        lgdt    [host_gdtr]
        lidt    [host_idtr]
        mov     rbx, [host_gdtr + 2]
        and     byte [rbx + TASK + TYPE_OFFSET], ~TSS_BUSY
        mov     eax, TASK
        ltr     ax
        xor     eax, eax
        lldt    ax
        mov     fs, eax
        mov     gs, eax
        xor     edx, edx                ; a null selector need not clear the base
        mov     ecx, MSR_FS_BASE
        wrmsr
        mov     ecx, MSR_GS_BASE
        wrmsr
        mov     eax, KERNEL_DATA
        mov     ds, eax
        mov     es, eax

        ; IRETQ rather than a jump: it loads CS, SS and clean flags, and ends the blocking of NMIs.
        lea     rcx, [.resumed]
        push    rax
        push    qword [host_rsp]
        push    RFLAGS_CLEAN
        push    KERNEL_CODE
        push    rcx
        iretq
.resumed:
        fninit
        ldmxcsr [mxcsr_default]
        mov     ecx, MSR_EFER
        rdmsr
        bt      eax, EFER_SVME
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
