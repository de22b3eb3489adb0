; cpl3: tries at CPL 3 what only a hypervisor may do.
;
; Witness   CPL, then VMRUN VMLOAD VMSAVE STGI CLGI SKINIT INVLPGA VMMCALL; for VMMCALL the value is RAX
;           afterwards; then CONFORM: VMMCALL in a conforming code segment of DPL 0.
; Expects   #UD for each but VMMCALL and CONFORM, which answer "denied".
; Ends      status 0, through the gate that CPL 3 may call: hypercalls are for CPL 0

%include "guest.inc"
%include "longmode.inc"
%include "svm.inc"

RFLAGS_RESERVED_1       equ 2

main:
        push    SELECTOR_USER_DATA
        push    USER_STACK_TOP
        push    RFLAGS_RESERVED_1
        push    SELECTOR_USER_CODE
        push    user
        iretq

user:
        mov     ebx, cs
        and     ebx, 3
        witness 'CPL', rbx
        attempt_svm_instructions
        attempt
        hypercall CALL_NOTHING
        mov     r8, rax
        attempted 'VMMCALL'

        push    SELECTOR_CONFORMING     ; CS.DPL is 0 there, the CPL still 3
        push    .conforming
        retfq
.conforming:
        attempt
        hypercall CALL_NOTHING
        mov     r8, rax
        attempted 'CONFORM'
        push    SELECTOR_USER_CODE
        push    .back
        retfq
.back:  mov     ebx, STATUS_GOOD
        int     FINISH_VECTOR
