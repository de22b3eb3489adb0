; rings: tries every SVM instruction at every CPL.
;
; Witness   for each CPL n: CPLn (CS[1:0]), then VMRUNn VMLOADn VMSAVEn STGIn CLGIn SKINITn INVLPGAn
; Expects   #UD for each
; Ends      status 0, through the gate that CPL 3 may call

%include "guest.inc"
%include "longmode.inc"
%include "svm.inc"

RFLAGS_RESERVED_1       equ 2
CODE_SELECTORS          equ 18h         ; code and data of CPL 0, then of CPL 1, and so on
SELECTORS_OF_RING       equ 10h

%macro attempt_at 2+                    ; name, the instruction
        attempt
        mov     eax, SOME_PAGE
        xor     ecx, ecx
        %2
        attempted %1
%endmacro

; %1 = CPL, as a digit. CLOBBERS RAX RBX RCX RDX R8
%macro ring 1
    %defstr %%digit %1
    %strcat %%cpl 'CPL', %%digit
    %strcat %%vmrun 'VMRUN', %%digit
    %strcat %%vmload 'VMLOAD', %%digit
    %strcat %%vmsave 'VMSAVE', %%digit
    %strcat %%stgi 'STGI', %%digit
    %strcat %%clgi 'CLGI', %%digit
    %strcat %%skinit 'SKINIT', %%digit
    %strcat %%invlpga 'INVLPGA', %%digit
        mov     ebx, cs
        and     ebx, 3
        witness %%cpl, rbx
        attempt_at %%vmrun, vmrun
        attempt_at %%vmload, vmload
        attempt_at %%vmsave, vmsave
        attempt_at %%stgi, stgi
        attempt_at %%clgi, clgi
        attempt_at %%skinit, skinit
        attempt_at %%invlpga, invlpga
%endmacro

; %1 = CPL. IN a lower one. OUT there, on the same stack for all
%macro outwards 1
        push    CODE_SELECTORS + 8 + %1 * SELECTORS_OF_RING | %1
        push    USER_STACK_TOP
        push    RFLAGS_RESERVED_1
        push    CODE_SELECTORS + %1 * SELECTORS_OF_RING | %1
        push    %%there
        iretq
%%there:
%endmacro

main:
        lgdt    [rings_gdtr]
        ring    0
        outwards 1
        ring    1
        outwards 2
        ring    2
        outwards 3
        ring    3
        mov     ebx, STATUS_GOOD
        int     FINISH_VECTOR

align 8, db 0
rings_gdt:
        dq      0
        dq      00AF9B000000FFFFh       ; 64-bit code, where the gates lead
        dq      00CF93000000FFFFh       ; data
%assign dpl 0
%rep 4
        dq      00AF9B000000FFFFh | dpl << 45
        dq      00CF93000000FFFFh | dpl << 45
    %assign dpl dpl + 1
%endrep
rings_gdt_end:
rings_gdtr:
        dw      rings_gdt_end - rings_gdt - 1
        dq      rings_gdt
