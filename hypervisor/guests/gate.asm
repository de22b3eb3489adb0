; gate: switches A20 off by port 92h and on again, and looks each time at what the port says of it and what memory does.
;
; Needs     a whole machine: guest=pc.gate
; Witness   OFF, ON = bit 1 of port 92h after 0 and 1 were written to it; OFFSAME, ONSAME = 1 if what lies 1 MiB apart is the
;           same memory then, as with bit 20 of addresses masked, else 0
; Ends      status 0

%include "guest.inc"
%include "longmode.inc"

SYSTEM_CONTROL          equ 92h
RESET                   equ 1 << 0      ; never written as 1
A20                     equ 1 << 1
LARGE_PAGE              equ 200000h     ; the second 2 MiB: memory on both sides of bit 20
LOW_WORD                equ LARGE_PAGE + 1000h
HIGH_WORD               equ LOW_WORD + (1 << 20)

; %1 = what becomes of bit 1, %2 and %3 = names of what is seen then. CLOBBERS RAX RCX RDX R8
%macro look 3
        in      al, SYSTEM_CONTROL
        and     al, ~(RESET | A20) & 0FFh
        or      al, %1
        out     SYSTEM_CONTROL, al
        in      al, SYSTEM_CONTROL
        and     al, A20
        movzx   r12d, al
        shr     r12d, 1
        mov     dword [LOW_WORD], 1
        mov     dword [HIGH_WORD], 2
        xor     r13d, r13d
        cmp     dword [LOW_WORD], 2
        sete    r13b
        witness %2, r12
        witness %3, r13
%endmacro

main:
        mov     dword [PD + 8], LARGE_PAGE | PTE_TABLE | PTE_LARGE
        look    0, 'OFF', 'OFFSAME'
        look    A20, 'ON', 'ONSAME'
        finish  STATUS_GOOD
