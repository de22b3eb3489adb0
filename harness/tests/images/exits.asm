; Writes 2Ah to the exit port at once: the shortest run there is.
%include "multiboot.inc"
        mov     al, 0x2A
        out     EXIT, al
        hlt
finish
