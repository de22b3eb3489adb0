; Prints for ever.
%include "multiboot.inc"
        mov     esi, start
        mov     edx, E9
.again: mov     ecx, 4096
        cld
        mov     esi, header
        rep outsb
        jmp     .again
finish
