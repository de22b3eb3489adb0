; The memory routines that the compiler calls: the host target's precompiled core leaves them to the C library.
;
; Contract  System V calls, 64-bit, direction flag clear at entry and at return.

bits 64
global memcpy, memmove, memset, memcmp, bcmp

section .text progbits alloc exec nowrite align=16
; IN        RDI = destination, RSI = source, RDX = number of bytes; may overlap
; OUT       RAX = destination
; CLOBBERS  RCX RSI RDI
memmove:
        mov     rax, rdi
        sub     rax, rsi
        cmp     rax, rdx                ; unsigned: below only when source < destination < source + n
        jae     memcpy
        mov     rax, rdi
        mov     rcx, rdx
        lea     rdi, [rdi + rdx - 1]
        lea     rsi, [rsi + rdx - 1]
        std
        rep movsb
        cld
        ret

; IN        RDI = destination, RSI = source, RDX = number of bytes; must not overlap forwards
; OUT       RAX = destination
; CLOBBERS  RCX RSI RDI
memcpy:
        mov     rax, rdi
        mov     rcx, rdx
        shr     rcx, 3
        rep movsq
        mov     ecx, edx
        and     ecx, 7
        rep movsb
        ret

; IN        RDI = destination, SIL = value, RDX = number of bytes
; OUT       RAX = destination
; CLOBBERS  RCX RDI R8
memset:
        mov     r8, rdi
        movzx   eax, sil
        mov     rcx, 0101010101010101h
        imul    rax, rcx
        mov     rcx, rdx
        shr     rcx, 3
        rep stosq
        mov     ecx, edx
        and     ecx, 7
        rep stosb
        mov     rax, r8
        ret

; IN        RDI, RSI = what to compare, RDX = number of bytes
; OUT       EAX = 0 equal, else the difference of the first bytes that differ
; CLOBBERS  RCX RSI RDI
memcmp:
bcmp:
        xor     eax, eax
        mov     rcx, rdx
        cmp     rcx, rcx                ; sets ZF: nothing to compare is equal
        repe cmpsb
        je      .equal
        movzx   eax, byte [rdi - 1]
        movzx   ecx, byte [rsi - 1]
        sub     eax, ecx
.equal: ret
