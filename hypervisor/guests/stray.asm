; stray: reads guest-physical memory that the guest does not have.
;
; Ends      by the hypervisor, at the read

%include "guest.inc"
%include "longmode.inc"

NOWHERE                 equ 40000000h
NOWHERE_PDPT_ENTRY      equ NOWHERE >> 30
NOWHERE_PD              equ 26000h

main:
        mov     edi, NOWHERE_PD
        xor     eax, eax
        mov     ecx, 4096 / 4
        rep stosd
        mov     dword [NOWHERE_PD], NOWHERE | PTE_TABLE | PTE_LARGE
        mov     dword [PDPT + NOWHERE_PDPT_ENTRY * 8], NOWHERE_PD | PTE_TABLE
        mov     rax, [NOWHERE]
        finish  STATUS_WRONG
