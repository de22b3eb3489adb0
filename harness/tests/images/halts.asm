; Halts with interrupts off: nothing but a reset ends it.
%include "multiboot.inc"
        cli
        hlt
        jmp     $
finish
