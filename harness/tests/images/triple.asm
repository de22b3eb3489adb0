; Triple-faults at once: no IDT, then UD2.
%include "multiboot.inc"
        lidt    [no_idt]
        ud2
no_idt: dw 0
        dd 0
finish
