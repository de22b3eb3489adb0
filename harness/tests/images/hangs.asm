; Loops for ever with interrupts off.
%include "multiboot.inc"
        cli
        jmp     $
finish
