; Steps in real mode: the part that must lie below 1 MiB.
;
; Purpose   From 16-bit protected mode to real mode, into the step, and back at its end or at any interrupt.
; Manual    APM vol. 2, 14.3 "Initialization", 8.6 "Real-mode interrupt control transfers".
; Memory    A flat binary, copied to REAL_BASE (src/tables.rs). Its head is shared with src/crossing.rs: what a step
;           starts with and what it left, as a code segment can be written in real mode. The table of vectors is here,
;           too, not at 0: IDTR has a base in real mode.
; Contract  Entered at `entry` by a jump from legacy.asm in protected mode without paging, the step's GDT loaded.

%include "crossing.inc"

REAL_BASE               equ 9000h
STUB16_SIZE             equ 8
STEP_SEGMENT            equ 800h        ; the step's code: svmconf_step_code_low

bits 16
org 0
; src/crossing.rs, struct RealHead.
eax_value:      dd 0
ecx_value:      dd 0
edx_value:      dd 0
ebx_value:      dd 0
esp_value:      dd 0
ebp_value:      dd 0
esi_value:      dd 0
edi_value:      dd 0
eflags_value:   dd 0
ip_value:       dw 0
cs_value:       dw 0
vector_value:   dd 0
gdtr:           times 8 db 0            ; limit, base; for the way back
back:           dd 0                    ; offset of from_real
                dd KERNEL_CODE32
times 64 - ($ - $$) db 0        ; legacy.asm knows this offset

entry:  mov     ax, LOW_DATA16          ; limits of 64 KiB, as real mode has them
        mov     ds, ax
        mov     es, ax
        mov     fs, ax
        mov     gs, ax
        mov     ss, ax
        o32 lidt [cs:vectors_idtr]
        mov     eax, cr0
        and     al, ~CR0_PE
        mov     cr0, eax
        jmp     (REAL_BASE >> 4):.real
.real:  xor     ax, ax
        mov     ds, ax
        mov     es, ax
        mov     fs, ax
        mov     gs, ax
        mov     ss, ax
        mov     esp, [cs:esp_value]
        push    dword [cs:eflags_value]
        push    dword STEP_SEGMENT
        push    dword 0
        mov     eax, [cs:eax_value]
        mov     ecx, [cs:ecx_value]
        mov     edx, [cs:edx_value]
        mov     ebx, [cs:ebx_value]
        mov     ebp, [cs:ebp_value]
        mov     esi, [cs:esi_value]
        mov     edi, [cs:edi_value]
        iretd

; IN        vector and the processor's frame on the stack; all else as the step left it
; OUT       to from_real
leave_step16:
        mov     [cs:eax_value], eax
        mov     [cs:ecx_value], ecx
        mov     [cs:edx_value], edx
        mov     [cs:ebx_value], ebx
        mov     [cs:ebp_value], ebp
        mov     [cs:esi_value], esi
        mov     [cs:edi_value], edi
        pop     word [cs:vector_value]
        pop     word [cs:ip_value]
        pop     word [cs:cs_value]
        pop     word [cs:eflags_value]
        mov     [cs:esp_value], esp
        o32 lgdt [cs:gdtr]
        mov     eax, cr0
        or      al, CR0_PE
        mov     cr0, eax
        jmp     far dword [cs:back]

align 4, db 0
vectors_idtr:   dw VECTORS * 4 - 1
                dd REAL_BASE + vectors

align 4, db 0
vectors:
%assign n 0
%rep VECTORS
        dw      stubs + n * STUB16_SIZE, REAL_BASE >> 4
    %assign n n + 1
%endrep

align STUB16_SIZE, int3
stubs:
%assign n 0
%rep VECTORS
        align   STUB16_SIZE, int3
        push    strict word n
        jmp     strict near leave_step16
    %assign n n + 1
%endrep
