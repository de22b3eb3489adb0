; odd: an instruction that the hypervisor intercepts and does not handle.
;
; Ends      by the hypervisor, at RDPMC

%include "guest.inc"
%include "longmode.inc"

main:
        xor     ecx, ecx
        rdpmc
        finish  STATUS_WRONG
