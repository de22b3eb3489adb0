; A stranger's hypervisor: prints no records, only words on COM1. It looks at Fn8000_0001_ECX[SVM] and at VM_CR.SVMDIS,
; sets EFER.SVME and VM_HSAVE_PA, and says how it went; then it halts. It never gets as far as a guest.
%include "multiboot.inc"
VM_CR   equ 0xC0010114
HSAVE   equ 0xC0010117
EFER    equ 0xC0000080
        mov     esp, stack_top
        mov     eax, 0x80000001
        cpuid
        mov     esi, no_svm
        test    ecx, 1 << 2
        jz      say
        mov     ecx, VM_CR
        rdmsr
        mov     esi, disabled
        test    eax, 1 << 4
        jnz     say
        mov     ecx, EFER
        rdmsr
        or      eax, 1 << 12
        wrmsr
        mov     ecx, HSAVE
        mov     eax, 0x200000
        xor     edx, edx
        wrmsr
        mov     esi, ready
say:    lodsb
        test    al, al
        jz      done
        mov     edx, COM1
        out     dx, al
        jmp     say
done:   cli
        hlt
        jmp     done
no_svm:   db "myvisor: this CPU has no SVM", 10, 0
disabled: db "myvisor: SVM is disabled in the BIOS", 10, 0
ready:    db "myvisor: SVM is on", 10, 0
align 16
        times 256 db 0
stack_top:
finish
