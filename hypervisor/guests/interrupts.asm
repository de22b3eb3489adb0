; interrupts: asks to be interrupted, and looks when it is.
;
; Witness   CLOSED    interrupts taken while IF is 0                                                    0
;           SHADOW    instructions executed behind STI before one that waits is taken                   1
;           ORDER     two that wait together, vector by vector                                          9141h
;           HELD      interrupts of priority 5 taken while CR8 is 6                                     0
;           CR8       what CR8 reads then                                                               6
;           LOWERED   interrupts taken when CR8 has become 4                                            1
;           WOKEN     the vector that ended HLT                                                         61h
;           NMI       NMIs taken while IF is 0                                                          1
;           NESTED    NMIs taken when the handler of the first asks for another                         1
;           AFTER     NMIs taken behind its IRET                                                        2
;           NMIWOKEN  NMIs taken when one was to end HLT with IF = 0                                    3
; Ends      status 0

%include "guest.inc"
%include "longmode.inc"

FIRST                   equ 41h
HIGHER                  equ 91h
PRIORITY_5              equ 51h
ALARM                   equ 61h
NMI                     equ 2
SOON                    equ 20          ; milliseconds
PATIENCE                equ 1 << 25     ; rounds: longer than from one tick of the hypervisor's clock to the next

; %1 = vector. CLOBBERS RAX RBX
%macro interrupt_me 1
        mov     ebx, %1
        hypercall CALL_INTERRUPT
%endmacro

main:   gate    FIRST, take_first
        gate    HIGHER, take_higher
        gate    PRIORITY_5, take_priority_5
        gate    ALARM, take_alarm
        gate    NMI, take_nmi

        mov     eax, CALL_NOTHING
        sti
        vmmcall                         ; exits in the shadow of STI, and ends it
        cli

        interrupt_me FIRST
        nop
        witness 'CLOSED', [taken]
        xor     r12d, r12d
        sti
        inc     r12d
        inc     r12d
        cli
        witness 'SHADOW', [r12_then]

        mov     dword [order], 0
        interrupt_me FIRST
        interrupt_me HIGHER
        sti
        nop
        nop
        cli
        witness 'ORDER', [order]

        mov     eax, 6
        mov     cr8, rax
        mov     dword [taken], 0
        sti
        interrupt_me PRIORITY_5
        nop
        witness 'HELD', [taken]
        mov     rbx, cr8
        witness 'CR8', rbx
        mov     eax, 4
        mov     cr8, rax
        nop
        cli
        witness 'LOWERED', [taken]
        xor     eax, eax
        mov     cr8, rax

        mov     dword [order], 0
        mov     ebx, ALARM
        mov     ecx, SOON
        hypercall CALL_ALARM
        sti
        hlt
        nop
        cli
        witness 'WOKEN', [order]

        hypercall CALL_NMI
        sti                             ; or one engine holds back what interrupts the host
        mov     ecx, PATIENCE           ; the second comes when the first one's IRET is done
.wait:  cmp     dword [nmis], 2
        je      .came
        pause
        loop    .wait
.came:  cli
        witness 'NMI', [nmis_first]
        witness 'NESTED', [nmis_nested]
        witness 'AFTER', [nmis]
        mov     ebx, NMI
        mov     ecx, SOON
        hypercall CALL_ALARM
        hlt
        nop
        witness 'NMIWOKEN', [nmis]
        finish  STATUS_GOOD

; An interrupt's handler. %1 = its vector
%macro take 1
        shl     qword [order], 8
        or      qword [order], %1
        inc     qword [taken]
        mov     [r12_then], r12
        iretq
%endmacro

take_first:             take FIRST
take_higher:            take HIGHER
take_priority_5:        take PRIORITY_5
take_alarm:             take ALARM

; IN        an NMI; the first asks for another
take_nmi:
        inc     qword [nmis]
        cmp     qword [nmis], 1
        jne     .done
        mov     qword [nmis_first], 1
        push    rax
        hypercall CALL_NMI
        nop
        mov     rax, [nmis]
        mov     [nmis_nested], rax
        pop     rax
.done:  iretq

align 8, db 0
taken:          dq 0
order:          dq 0
r12_then:       dq 0
nmis:           dq 0
nmis_first:     dq 0
nmis_nested:    dq 0
