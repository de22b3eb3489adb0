; The way of a further processor from its start-up interrupt to Rust.
;
; Purpose   A guest with a whole machine starts its processors by INIT and start-up interrupts; the hypervisor sends them
;           here instead, so that it holds each before the guest does. For small guests it starts one itself. The control
;           registers become what the first processor's are.
; Manual    APM vol. 2, 14.1 "Processor initialization state", 16.5 "Interrupt command" (start-up interprocessor
;           interrupt), 14.6 "Enabling and activating long mode".
; Memory    startup_begin to startup_end is copied to a page below 1 MiB, and refers to itself by CS only. The rest is
;           the image's.
; Contract  real mode, CS:IP = page:0000, interrupts off. src/startup.rs filled in struct startup_control.

%include "processor.inc"

global startup_begin, startup_end, startup_control

APIC_ID_SHIFT           equ 24          ; CPUID Fn0000_0001_EBX[31:24]
CPUID_FEATURES          equ 1
CR0_PE                  equ 1 << 0

section .rodata progbits alloc noexec nowrite align=8
startup_gdt:    dq 0
.code32: equ $ - startup_gdt
                dq 00CF9B000000FFFFh
.code64: equ $ - startup_gdt
                dq DESCRIPTOR_CODE64
.data: equ $ - startup_gdt
                dq DESCRIPTOR_DATA
startup_gdt_end:

bits 16
startup_begin:
        cli
        o32 lgdt [cs:.gdtr - startup_begin]
        mov     eax, cr0
        or      al, CR0_PE
        mov     cr0, eax
        jmp     dword startup_gdt.code32:protected
.gdtr:  dw startup_gdt_end - startup_gdt - 1
        dd startup_gdt
startup_end:

section .data progbits alloc write align=8
; What the first processor tells the others: struct Control in src/startup.rs.
startup_control:
.cr0:           dq 0
.cr3:           dq 0
.cr4:           dq 0
.efer:          dq 0
.stacks:        dq 0                    ; the stack of processor n ends (n + 1) * stack_size above this
.stack_size:    dq 0
.entry:         dq 0                    ; where it goes on

section .text.boot progbits alloc exec nowrite align=16
bits 32
; IN        flat segments to be loaded, paging off
; OUT       does not return
protected:
        mov     ax, startup_gdt.data
        mov     ds, ax
        mov     es, ax
        mov     ss, ax
        xor     eax, eax
        mov     fs, ax
        mov     gs, ax
        mov     eax, [startup_control.cr4]
        mov     cr4, eax
        mov     eax, [startup_control.cr3]
        mov     cr3, eax
        mov     ecx, MSR_EFER
        mov     eax, [startup_control.efer]
        xor     edx, edx
        wrmsr
        mov     eax, [startup_control.cr0]
        mov     cr0, eax
        jmp     startup_gdt.code64:long_mode

bits 64
; IN        long mode
; OUT       to entry(processor) on the processor's own stack
long_mode:
        mov     eax, CPUID_FEATURES
        cpuid
        shr     ebx, APIC_ID_SHIFT
        mov     edi, ebx
        lea     rax, [rbx + 1]
        mul     qword [startup_control.stack_size]
        add     rax, [startup_control.stacks]
        mov     rsp, rax
        fninit
        xor     ebp, ebp                ; the end of the frame chain, for a debugger
        call    [startup_control.entry]
        ud2                             ; it does not return
