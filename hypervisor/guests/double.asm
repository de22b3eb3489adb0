; double: a fault whose handler cannot be reached.
;
; Witness   DE = the vector that arrived in place of #DE, whose gate names a segment that is not there.
; Expects   #DF, error code 0: #GP while #DE is delivered (APM vol. 2, table 8-3)
; Ends      status 0

%include "guest.inc"
%include "longmode.inc"

DIVIDE_ERROR            equ 0
NO_SELECTOR             equ 1230h       ; beyond the GDT

main:   mov     word [IDT + DIVIDE_ERROR * GATE_SIZE + 2], NO_SELECTOR
        attempt
        xor     ecx, ecx
        div     ecx
        attempted 'DE'
        finish  STATUS_GOOD
