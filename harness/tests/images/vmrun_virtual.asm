; A stranger's hypervisor in 64-bit mode that executes two VMRUNs in turn, for ever: one whose rAX is the physical address
; of a legal VMCB, and one whose rAX is a virtual, unaligned address of it. Its #GP handler skips the instruction.
; Memory: 8000h guest, 10000h page tables (physical memory at 0 and at FFFF_8000_0000_0000h), 20000h host save area,
; 30000h IDT, 1A5000h VMCB.
%include "multiboot.inc"
EFER    equ 0xC0000080
HSAVE   equ 0xC0010117
GUEST   equ 0x8000
PML4    equ 0x10000
PDPT    equ 0x11000
PD      equ 0x12000
SAVE    equ 0x20000
IDT     equ 0x30000
VMCB    equ 0x1A5000
HIGHER  equ 0xFFFF800000000000
        cli
        mov     dword [PML4], PDPT | 3
        mov     dword [PML4 + 256 * 8], PDPT | 3
        mov     dword [PDPT], PD | 3
        mov     dword [PD], 0x83
        mov     dword [PD + 8], 0x200083
        mov     eax, cr4
        or      eax, 1 << 5
        mov     cr4, eax
        mov     eax, PML4
        mov     cr3, eax
        mov     ecx, EFER
        mov     eax, 1 << 8 | 1 << 12           ; LME, SVME
        xor     edx, edx
        wrmsr
        mov     ecx, HSAVE
        mov     eax, SAVE
        wrmsr
        mov     eax, cr0
        or      eax, 1 << 31
        mov     cr0, eax
        lgdt    [gdtr]
        jmp     0x8:wide

bits 64
wide:   mov     eax, 0x10
        mov     ss, eax
        mov     ds, eax
        mov     es, eax
        mov     rsp, stack_top
        mov     word [IDT + 13 * 16], skip - header
        mov     word [IDT + 13 * 16 + 2], 0x8
        mov     dword [IDT + 13 * 16 + 4], 0x00108E00   ; present interrupt gate; 31:16 of the handler's address
        lidt    [idtr]
        mov     word [GUEST], 0x010F
        mov     byte [GUEST + 2], 0xD9                  ; VMMCALL
        mov     dword [VMCB + 0x010], 3                 ; intercepts: VMRUN, VMMCALL
        mov     dword [VMCB + 0x058], 5                 ; ASID: legal if the processor has more than five
        mov     dword [VMCB + 0x410], 0x009B0000 | GUEST >> 4
        mov     dword [VMCB + 0x414], 0xFFFF
        mov     dword [VMCB + 0x418], GUEST
        mov     dword [VMCB + 0x422], 0x93              ; SS
        mov     dword [VMCB + 0x4D0], 1 << 12           ; EFER.SVME
        mov     dword [VMCB + 0x558], 1 << 4            ; CR0.ET
        mov     dword [VMCB + 0x570], 2                 ; RFLAGS
again:  mov     eax, VMCB
        vmrun
        mov     rax, HIGHER + VMCB + 8
        vmrun
        jmp     again
skip:   add     qword [rsp + 8], 3
        add     rsp, 8
        iretq

align 8
gdt:    dq 0
        dq 0x00209B0000000000                           ; 8: 64-bit code
        dq 0x0000930000000000                           ; 10h: data
gdtr:   dw $ - gdt - 1
        dd gdt
idtr:   dw 14 * 16 - 1
        dq IDT
align 16
        times 256 db 0
stack_top:
finish
