; double: faults whose handler cannot be reached.
;
; Witness   DE = the vector that arrived in place of #DE, whose gate names a segment that is not there; NP = the same where
;           the gate is not present
; Expects   #DF, error code 0: #GP, or #NP, while #DE is delivered (APM vol. 2, table 8-3)
; Ends      status 0

%include "guest.inc"
%include "longmode.inc"

DIVIDE_ERROR            equ 0
NO_SELECTOR             equ 1230h       ; beyond the GDT

GATE                    equ IDT + DIVIDE_ERROR * GATE_SIZE
GATE_PRESENT            equ 8000h

main:   mov     word [GATE + 2], NO_SELECTOR
        attempt
        xor     ecx, ecx
        div     ecx
        attempted 'DE'
        mov     word [GATE + 2], SELECTOR_CODE
        mov     word [GATE + 4], GATE_INTERRUPT & ~GATE_PRESENT
        attempt
        xor     ecx, ecx
        div     ecx
        attempted 'NP'
        finish  STATUS_GOOD
