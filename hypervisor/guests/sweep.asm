; sweep: reads every port, and reads every register of the three ranges that permission maps cover, and writes back what
; it read.
;
; Witness   PORTS (read), MSRS (read without a fault), WRITTEN (written without a fault)
; Ends      status 0
; Needs     a whole machine

%include "guest.inc"
%include "longmode.inc"

PORTS                   equ 10000h
RANGE                   equ 2000h
RANGES                  equ 3

main:
        xor     r12d, r12d              ; read
        xor     r13d, r13d              ; written
        xor     r14d, r14d              ; range
.range: mov     r15d, [ranges + r14 * 4]
        lea     ebp, [r15 + RANGE]
.msr:   mov     qword [fault_resume], .next
        mov     ecx, r15d
        rdmsr
        inc     r12
        wrmsr
        inc     r13
.next:  inc     r15d
        cmp     r15d, ebp
        jne     .msr
        inc     r14d
        cmp     r14d, RANGES
        jb      .range
        mov     qword [fault_resume], 0
        xor     r15d, r15d
.port:  mov     edx, r15d
        in      al, dx
        inc     r15d
        cmp     r15d, PORTS
        jb      .port
        witness 'PORTS', r15
        witness 'MSRS', r12
        witness 'WRITTEN', r13
        finish  STATUS_GOOD

align 4, db 0
ranges: dd      0, 0C0000000h, 0C0010000h
