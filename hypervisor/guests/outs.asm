; outs: writes to ports, by chance: `count` bytes, each to any port of all.
;
; Seed      the count
; Left out  the last step before an end that no hypervisor could tell from what the guest wants: none; power-off and reset
;           are outcomes
; Witness   OUTS (writes done), when it comes to that
; Ends      status 0, or as the machine does what it was told
; Needs     a whole machine

%include "guest.inc"
%include "longmode.inc"

GOLDEN                  equ 9E3779B97F4A7C15h

main:
        mov     r15, GOLDEN
        xor     r15, [COUNT]
        xor     r14d, r14d
.next:  mov     rax, r15                ; xorshift64
        shl     rax, 13
        xor     r15, rax
        mov     rax, r15
        shr     rax, 7
        xor     r15, rax
        mov     rax, r15
        shl     rax, 17
        xor     r15, rax
        mov     rdx, r15
        shr     rdx, 40
        mov     eax, r15d
        shr     eax, 8
        out     dx, al
        inc     r14
        cmp     r14, [COUNT]
        jb      .next
        witness 'OUTS', r14
        finish  STATUS_GOOD
