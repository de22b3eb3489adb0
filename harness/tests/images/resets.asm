; Resets the machine through the keyboard controller.
%include "multiboot.inc"
        mov     al, 0xFE
        out     0x64, al
        cli
        hlt
finish
