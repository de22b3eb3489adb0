; The last act of an image: docs/protocol.md, "Ending".
;
; Contract  System V calls, 64-bit. The harness finds the end by these bytes: E6 F4, then cli, hlt.

%include "processor.inc"

bits 64
global exit_machine

section .sensitive progbits alloc exec nowrite align=16
; IN        DIL = the outcome's code
; OUT       does not return: QEMU ends at the OUT; elsewhere the processor halts for ever
exit_machine:
        mov     al, dil
        out     EXIT_PORT, al
.stop:  cli
        hlt
        jmp     .stop
