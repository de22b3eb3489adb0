; spin: nothing but exits, `count` times.
;
; Witness   SPIN = number of hypercalls made.
; Ends      status 0

%include "guest.inc"
%include "witness.inc"

        xor     esi, esi                ; EDI:ESI = number done
        xor     edi, edi
.next:  cmp     esi, [COUNT]
        jne     .call
        cmp     edi, [COUNT + 4]
        je      .done
.call:  hypercall CALL_NOTHING
        add     esi, 1
        adc     edi, 0
        jmp     .next
.done:  witness16 'SPIN', 0, esi, edi
        finish  STATUS_GOOD
