; hang: an endless loop with interrupts off, after an exit of each kind that is usual.
;
; Ends      never

%include "guest.inc"
%include "longmode.inc"

main:
        cli
        xor     eax, eax
        cpuid
        mov     ecx, MSR_EFER
        rdmsr
        hypercall CALL_NOTHING
        jmp     $
