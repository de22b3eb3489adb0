; triple: a fault that cannot be delivered, and neither can the ones that follow.
;
; Ends      shutdown

%include "guest.inc"
%include "longmode.inc"

main:
        lidt    [empty]
        ud2
        finish  STATUS_WRONG

empty:  dw      0
        dq      0
