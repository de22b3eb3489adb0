; grab: reads the first byte of the hypervisor's image.
;
; Needs     a whole machine: guest=pc.grab (in 2 MiB of its own the address is ordinary memory)
; Ends      never by itself: the touch is a nested page fault, which the hypervisor reports; status 1 if it is none

%include "guest.inc"
%include "longmode.inc"

IMAGE                   equ 100000h

main:
        mov     al, [IMAGE]
        finish  STATUS_WRONG
