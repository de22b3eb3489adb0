; cut: events whose delivery touches pages that it has not touched since it loaded CR3.
;
; Purpose   Under shadow paging each such page is missing in the tables, so that an exit cuts the delivery short.
; Witness   IRQ NMI = how often the handler ran; faults as they arrived: UD, GP (error code 1230h), PF (error code 0); CR2
;           after that; WHERE = how many returned to elsewhere than behind what raised them; INT3, ICEBP (or the fault of
;           a processor that has none), INT, and WHEREINT, in the same way
; Expects   1 each, none elsewhere, CR2 = 400000h
; Ends      status 0

%include "guest.inc"
%include "longmode.inc"

SOFTWARE                equ 50h
EXTERNAL                equ 51h
DEBUG                   equ 1
NMI                     equ 2
BREAKPOINT              equ 3
NO_SELECTOR             equ 1230h       ; beyond the GDT
UNMAPPED                equ 400000h     ; the tables end at 2 MiB

; Takes every page but that of the code out of the tables that are made as they are touched. CLOBBERS RAX
%macro forget_pages 0
        mov     rax, cr3
        mov     cr3, rax
%endmacro

; What follows raises an event, as its last instruction, and ends with `came`. CLOBBERS RAX
%macro event 0
    %push event
        mov     qword [back], %$behind
        forget_pages
%endmacro
; %1 = name, %2 = counter. CLOBBERS RAX RCX RDX R8
%macro came 2
%$behind:
        nop
        witness %1, [%2]
    %pop event
%endmacro

main:   gate    SOFTWARE, take_software
        gate    EXTERNAL, take_external
        gate    DEBUG, take_debug
        gate    NMI, take_nmi
        gate    BREAKPOINT, take_breakpoint
        mov     ebx, EXTERNAL
        invlpg  [UNMAPPED]
        sti

        event
        mov     eax, CALL_INTERRUPT
        vmmcall
        came    'IRQ', externals
        event
        mov     eax, CALL_NMI
        vmmcall
        came    'NMI', nmis
        attempt
        forget_pages
        ud2
        attempted 'UD'
        attempt
        mov     ecx, NO_SELECTOR
        forget_pages
        mov     fs, ecx
        attempted 'GP'
        attempt
        xor     eax, eax
        mov     cr2, rax
        forget_pages
        mov     al, [UNMAPPED]
        attempted 'PF'
        mov     rax, cr2
        witness 'CR2', rax
        witness 'WHERE', [elsewhere]

        ; Last, because one engine does not tell that they were cut short.
        mov     qword [elsewhere], 0
        event
        int3
        came    'INT3', breakpoints
        attempt
        mov     qword [back], icebp_behind
        forget_pages
        db      0F1h
icebp_behind:
        nop
        mov     r8, [debugs]
        attempted 'ICEBP'
        event
        int     SOFTWARE
        came    'INT', software
        witness 'WHEREINT', [elsewhere]
        finish  STATUS_GOOD

; A handler. %1 = its counter
%macro take 1
        inc     qword [%1]
        push    rax
        mov     rax, [back]
        cmp     rax, [rsp + 8]
        je      %%right
        inc     qword [elsewhere]
%%right:
        pop     rax
        iretq
%endmacro

take_software:          take software
take_external:          take externals
take_debug:             take debugs
take_nmi:               take nmis
take_breakpoint:        take breakpoints

align 8, db 0
back:           dq 0
elsewhere:      dq 0
software:       dq 0
externals:      dq 0
debugs:         dq 0
nmis:           dq 0
breakpoints:    dq 0
