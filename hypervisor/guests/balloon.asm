; balloon: gives two pages of its memory back, and touches one of them again. In real mode.
;
; Witness   GAVE = what the hypercalls answered, REFUSED = the answer for a page that it does not have; FRESH = what it
;           finds where it had written, KEPT = what it finds there when it has written once more
; Expects   0, FFFF_FFFFh, 0, AGAIN
; Ends      status 0, with the page GONE given back

%include "guest.inc"
%include "witness.inc"

GIVEN                   equ 50000h
GONE                    equ 60000h
NOWHERE                 equ 200000h     ; behind the end of its memory
WRITTEN                 equ 0B00Bh
AGAIN                   equ 0CAFEh

        mov     ax, GIVEN >> 4
        mov     fs, ax
        mov     ax, GONE >> 4
        mov     gs, ax
        mov     dword [fs:0], WRITTEN
        mov     dword [gs:0], WRITTEN

        mov     ebx, GIVEN
        hypercall CALL_GIVE_BACK
        mov     esi, eax
        mov     edi, [fs:0]
        mov     dword [fs:0], AGAIN
        mov     ebx, GONE
        hypercall CALL_GIVE_BACK
        or      esi, eax
        mov     ebx, NOWHERE
        hypercall CALL_GIVE_BACK
        mov     ebp, eax

        witness16 'GAVE', 0, esi, 0
        witness16_more 1, 'REFU', 'SED', ebp, 0
        witness16_more 2, 'FRES', 'H', edi, 0
        mov     edi, [fs:0]
        witness16_more 3, 'KEPT', 0, edi, 0
        finish  STATUS_GOOD
