; Reads VM_CR for ever: stops the watcher as fast as it can be stopped.
%include "multiboot.inc"
VM_CR   equ 0xC0010114
again:  mov     ecx, VM_CR
        rdmsr
        jmp     again
finish
