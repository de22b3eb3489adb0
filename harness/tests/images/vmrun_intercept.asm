; A stranger's hypervisor in 32-bit protected mode without paging: its VMCB lacks the VMRUN intercept, all else is legal.
; It then writes the low byte of the exit code to the exit port. 8000h guest, 20000h host save area, 30000h VMCB.
%include "multiboot.inc"
EFER    equ 0xC0000080
HSAVE   equ 0xC0010117
GUEST   equ 0x8000
SAVE    equ 0x20000
VMCB    equ 0x30000
        cli
        mov     ecx, EFER
        mov     eax, 1 << 12                            ; SVME
        xor     edx, edx
        wrmsr
        mov     ecx, HSAVE
        mov     eax, SAVE
        wrmsr
        mov     dword [GUEST], 0x00D9010F               ; VMMCALL
        mov     dword [VMCB + 0x010], 2                 ; intercepts: VMMCALL only
        mov     dword [VMCB + 0x058], 1                 ; ASID
        mov     dword [VMCB + 0x410], 0x009B0000 | GUEST >> 4
        mov     dword [VMCB + 0x414], 0xFFFF
        mov     dword [VMCB + 0x418], GUEST
        mov     dword [VMCB + 0x422], 0x93              ; SS
        mov     dword [VMCB + 0x4D0], 1 << 12           ; EFER.SVME
        mov     dword [VMCB + 0x558], 1 << 4            ; CR0.ET
        mov     dword [VMCB + 0x570], 2                 ; RFLAGS
        mov     eax, VMCB
        vmrun
        mov     al, [VMCB + 0x070]
        out     EXIT, al
        hlt
finish
