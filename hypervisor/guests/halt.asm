; halt: stops for ever.
;
; Ends      HLT with interrupts off

%include "guest.inc"

        cli
        hlt
        finish  STATUS_WRONG
