; Steps outside long mode: out of it, into the step, and back.
;
; Purpose   Protected mode with and without paging, virtual-8086 mode; for real mode, the way to real.asm and back.
; Manual    APM vol. 2, 14.6.1 "Activating long mode" and 14.7 "Leaving long mode"; 8.7 "Legacy protected-mode interrupt
;           control transfers"; 8.8 "Virtual-8086 mode interrupt control transfers".
; Memory    Everything here lies below 4 GiB, linear = physical.
; Contract  Jumped to by run_step with the step's GDT loaded; jumps to `restore`.

%include "crossing.inc"

global leave_long_mode, stubs32, from_real, legacy_stack_top, pae_pdpt
extern crossing, step_gdtr, legacy_idtr, host_cr0, host_cr3, host_cr4, restore


STACK_SIZE              equ 4096
EFLAGS_VM               equ 1 << 17
RPL_MASK                equ 3
REAL_ENTRY              equ 64              ; offset of `entry` in real.asm

section .bss nobits alloc write align=32
pae_pdpt:       resq 4                  ; src/tables.rs
legacy_stack:   resb STACK_SIZE         ; also what the processor switches to at an exception outside CPL 0
legacy_stack_top:

section .text progbits alloc exec nowrite align=16
bits 64
; IN        the crossing; long mode
; OUT       in the step
leave_long_mode:
        lea     rax, [rel .compatible]
        push    KERNEL_CODE32
        push    rax
        retfq

bits 32
.compatible:
        mov     eax, KERNEL_DATA
        mov     ss, eax
        mov     ds, eax
        mov     es, eax
        mov     esp, legacy_stack_top
        mov     eax, cr0
        and     eax, ~CR0_PG            ; ends long mode
        mov     cr0, eax
        mov     ecx, MSR_EFER
        rdmsr
        btr     eax, EFER_LME_BIT
        wrmsr
        cmp     dword [crossing + Crossing.way], WAY_REAL
        je      .real
        lidt    [legacy_idtr]
        mov     ebx, [step_gdtr + 2]
        and     byte [ebx + TASK32 + TYPE_OFFSET], ~TSS_BUSY
        mov     eax, TASK32
        ltr     ax
        cmp     dword [crossing + Crossing.way], WAY_VIRTUAL_8086
        je      .virtual
        cmp     dword [crossing + Crossing.way], WAY_PAE
        jne     .protected
        mov     eax, pae_pdpt
        mov     cr3, eax
        mov     eax, cr0
        or      eax, CR0_PG
        mov     cr0, eax
.protected:
        mov     eax, [crossing + Crossing.ss]
        mov     ds, eax
        mov     es, eax
        test    al, RPL_MASK
        jnz     .outer
        mov     esp, [crossing + Crossing.rsp]  ; IRET at the same privilege leaves the stack alone
        jmp     .enter
.virtual:
        xor     ecx, ecx
        push    ecx                     ; GS, FS, DS, ES
        push    ecx
        push    ecx
        push    ecx
.outer: push    dword [crossing + Crossing.ss]
        push    dword [crossing + Crossing.rsp]
.enter: push    dword [crossing + Crossing.rflags]
        push    dword [crossing + Crossing.cs]
        push    dword [crossing + Crossing.rip]
        mov     ebx, [crossing + Crossing.rbx]
        mov     ecx, [crossing + Crossing.rcx]
        mov     edx, [crossing + Crossing.rdx]
        mov     esi, [crossing + Crossing.rsi]
        mov     edi, [crossing + Crossing.rdi]
        mov     ebp, [crossing + Crossing.rbp]
        mov     eax, [crossing + Crossing.rax]
        iretd
.real:  jmp     LOW_CODE16:REAL_ENTRY

; One for each vector, STUB_SIZE bytes apart.
align STUB_SIZE, int3
stubs32:
%assign n 0
%rep VECTORS
        align   STUB_SIZE, int3
    %if n >= 32 || ((ERROR_CODE_VECTORS >> n) & 1) == 0
        push    0                       ; in place of an error code
    %endif
        push    strict dword n
        jmp     strict near leave_step32
    %assign n n + 1
%endrep

; The stack at leave_step32, after PUSHAD.
struc Frame32
.edi:           resd 1
.esi:           resd 1
.ebp:           resd 1
.pushad_esp:    resd 1
.ebx:           resd 1
.edx:           resd 1
.ecx:           resd 1
.eax:           resd 1
.vector:        resd 1
.error:         resd 1
.eip:           resd 1
.cs:            resd 1
.eflags:        resd 1
.same_esp:                              ; where ESP was, when the privilege did not change
.esp:           resd 1                  ; pushed when it did
endstruc

; IN        vector, error code and the processor's frame on the stack; all else as the step left it
; OUT       returns from run_step
leave_step32:
        pushad
        lgdt    [cs:step_gdtr]
        mov     eax, KERNEL_DATA
        mov     ds, eax
%macro take 2
        mov     eax, [esp + Frame32.%1]
        mov     [crossing + Crossing.%2], eax
%endmacro
        take    eax, rax
        take    ecx, rcx
        take    edx, rdx
        take    ebx, rbx
        take    ebp, rbp
        take    esi, rsi
        take    edi, rdi
        take    vector, vector
        take    error, error
        take    eip, rip
        take    cs, cs
        take    eflags, rflags
        test    eax, EFLAGS_VM
        jnz     .switched
        test    byte [crossing + Crossing.cs], RPL_MASK
        jnz     .switched
        lea     eax, [esp + Frame32.same_esp]
        jmp     .have_esp
.switched:
        mov     eax, [esp + Frame32.esp]
.have_esp:
        mov     [crossing + Crossing.rsp], eax

; Protected mode, CPL 0, 32-bit code, the step's GDT; the crossing holds what the step left.
from_real:
        mov     eax, KERNEL_DATA
        mov     ss, eax
        mov     ds, eax
        mov     es, eax
        mov     esp, legacy_stack_top
        mov     eax, cr0
        and     eax, ~CR0_PG
        mov     cr0, eax
        mov     ecx, MSR_EFER
        rdmsr
        mov     [crossing + Crossing.efer], eax
        mov     [crossing + Crossing.efer + 4], edx
        bts     eax, EFER_LME_BIT
        wrmsr
        mov     eax, [host_cr4]
        mov     cr4, eax
        mov     eax, [host_cr3]
        mov     cr3, eax
        mov     eax, [host_cr0]
        mov     cr0, eax
        jmp     KERNEL_CODE:restore
