; modes: goes round the modes of a processor, `count` times, and in each executes what exits, with prefixes and without.
;
; Round     64-bit code, compatibility mode, protected mode without paging, real mode, and back
; Exits     CPUID, RDMSR of EFER, a read of a watched port, VMMCALL, and STGI, which must be #UD
; Witness   MODES (rounds done), UD (#UDs seen: four each round)
; Ends      status 0; when a register is not what the instruction leaves, 1 to 4: the mode in the order above
; Needs     a whole machine: in 2 MiB the built-in guests' policy has no such port

%include "guest.inc"
%include "longmode.inc"

SELECTOR_CODE_16        equ 18h
SELECTOR_DATA_16        equ 20h
SELECTOR_CODE_32        equ 28h
LEAF_HYPERVISOR         equ 40000000h
WATCHED_PORT            equ 92h
INVALID_OPCODE          equ 6
IVT_LIMIT               equ 3FFh
REAL_VECTOR             equ 4 * INVALID_OPCODE
GATE_32                 equ 8E00h       ; present, DPL 0, 32-bit interrupt gate

; What exits, in any mode. %1 = a label of this mode's that #UD leads to. CLOBBERS RAX RBX RCX RDX. ESI counts #UDs
%macro exits 1
        mov     eax, LEAF_HYPERVISOR
        xor     ecx, ecx
        cpuid
        cmp     ebx, 'svmc'
        jne     near %1.wrong
        mov     eax, LEAF_HYPERVISOR
        db      2Eh, 66h                ; nobody's business: the instruction is two bytes longer
        cpuid
        cmp     eax, LEAF_HYPERVISOR
        jne     near %1.wrong
        mov     ecx, MSR_EFER
        rdmsr
        test    eax, EFER_SVME
        jnz     near %1.wrong
        db      2Eh
        rdmsr
        in      al, WATCHED_PORT
        mov     dx, WATCHED_PORT
        db      2Eh
        in      al, dx
        hypercall CALL_NOTHING
        test    eax, eax
        jnz     near %1.wrong
        db      2Eh
        vmmcall
        stgi
        jmp     %1.wrong
%endmacro

main:
        xor     r14d, r14d              ; rounds
        xor     esi, esi                ; #UDs
        mov     dword [REAL_VECTOR], real.ud
.round: cmp     r14, [COUNT]
        jae     done
        mov     [rounds], r14
        lgdt    [modes_gdtr]
        lidt    [idtr]
        mov     qword [fault_resume], wide.ud
        mov     [stack_pointer], esp
wide:
        exits   wide
.wrong: finish  STATUS_WRONG
.ud:    inc     esi
        cmp     dword [fault_vector], INVALID_OPCODE
        jne     .wrong
        mov     qword [fault_resume], compatibility.ud
        jmp     dword far [to_compatibility]

        bits    32
compatibility:
        exits   compatibility
.wrong: finish  2
.ud:    inc     esi
        cmp     dword [fault_vector], INVALID_OPCODE
        jne     .wrong
        mov     eax, cr0
        and     eax, CR0_PG - 1
        mov     cr0, eax
        mov     ecx, MSR_EFER
        xor     eax, eax
        xor     edx, edx
        wrmsr
        lidt    [idtr_32]
protected:
        exits   protected
.wrong: finish  3
.ud:    mov     esp, [stack_pointer]
        inc     esi
        jmp     SELECTOR_CODE_16:.narrow
        bits    16
.narrow:
        mov     ax, SELECTOR_DATA_16
        mov     ds, ax
        mov     es, ax
        mov     ss, ax
        mov     eax, cr0
        and     al, 0FEh                ; PE
        mov     cr0, eax
        jmp     0:real
real:
        xor     ax, ax
        mov     ds, ax
        mov     es, ax
        mov     ss, ax
        mov     esp, LOAD_ADDRESS
        lidt    [idtr_16]
        exits   real
.wrong: finish  4
.ud:    mov     sp, LOAD_ADDRESS
        inc     esi
        mov     ecx, MSR_EFER
        mov     eax, EFER_LME
        xor     edx, edx
        wrmsr
        lgdt    [modes_gdtr]
        mov     eax, cr0
        or      eax, CR0_PE | CR0_PG
        mov     cr0, eax
        jmp     SELECTOR_CODE:back

        bits    64
back:
        mov     eax, SELECTOR_DATA
        mov     ds, eax
        mov     es, eax
        mov     ss, eax
        mov     esp, [stack_pointer]
        mov     r14, [rounds]
        inc     r14
        jmp     main.round

done:
        lidt    [idtr]
        mov     r9, rsi
        witness 'MODES', r14
        witness 'UD', r9
        finish  STATUS_GOOD

align 8, db 0
modes_gdt:
        dq      0
        dq      00AF9B000000FFFFh       ; 64-bit code
        dq      00CF93000000FFFFh       ; data
        dq      00009B000000FFFFh       ; 16-bit code
        dq      000093000000FFFFh       ; data of 64 KiB
        dq      00CF9B000000FFFFh       ; 32-bit code
modes_gdt_end:
modes_gdtr:
        dw      modes_gdt_end - modes_gdt - 1
        dq      modes_gdt
to_compatibility:
        dd      compatibility
        dw      SELECTOR_CODE_32
idt_32:
        times   INVALID_OPCODE dq 0
        dw      protected.ud, SELECTOR_CODE_32, GATE_32, 0
idt_32_end:
idtr_32:
        dw      idt_32_end - idt_32 - 1
        dd      idt_32
idtr_16:
        dw      IVT_LIMIT
        dd      0
rounds: dq      0
stack_pointer:
        dd      0
