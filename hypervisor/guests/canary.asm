; canary: has values of its own everywhere, gives others their turn `count` times, and looks whether they are still there.
;
; Witness   ME = its number; GENERAL VECTORS X87 DEBUG MSRS CR2 PAT MEMORY = in how many rounds one of those (general
;           registers, XMM, x87, DR0 to DR3, FS.base KernelGSbase STAR LSTAR, CR2, PAT, a quadword of its memory) was
;           another than its own; ROUNDS = how many there were.
; Expects   0 each
; Ends      status 0

%include "guest.inc"
%include "longmode.inc"

MSR_FS_BASE             equ 0C0000100h
MSR_KERNEL_GS_BASE      equ 0C0000102h
MSR_STAR                equ 0C0000081h
MSR_LSTAR               equ 0C0000082h
MSR_PAT                 equ 277h
CR4_OSFXSR              equ 1 << 9
CR0_MP                  equ 1 << 1
CR0_EM                  equ 1 << 2
PAT_UPPER               equ 00070406h   ; bits 63:32, and 31:8 of the lower half: as after reset
KIND                    equ 0102030405060708h
OWN_MEMORY              equ 50000h

; %1 = MSR, %2 = offset from the own value. CLOBBERS RAX RCX RDX
%macro own_msr 2
        mov     rax, [own]
        add     rax, %2
        mov     rdx, rax
        shr     rdx, 32
        mov     ecx, %1
        wrmsr
%endmacro

; %1 = MSR, %2 = offset from the own value. CLOBBERS RAX RCX RDX
; OUT       counts it in [wrong] if it is another
%macro check_msr 2
        mov     ecx, %1
        rdmsr
        shl     rdx, 32
        or      rax, rdx
        sub     rax, %2
        sub     rax, [own]
        or      [wrong], rax
%endmacro

; %1 = register. CLOBBERS RAX
%macro check_register 1
        mov     rax, %1
        sub     rax, [own]
        or      [wrong], rax
%endmacro

; %1 = counter: one more if anything was wrong since the last time.
%macro count_wrong 1
        cmp     qword [wrong], 0
        je      %%right
        inc     qword [%1]
        mov     qword [wrong], 0
%%right:
%endmacro

main:   mov     eax, CR4_PAE | CR4_OSFXSR   ; not what CR4 reads and one bit more: KVM shows its own MCE there
        mov     cr4, rax
        mov     rax, cr0
        and     eax, ~CR0_EM
        or      eax, CR0_MP
        mov     cr0, rax

        mov     rax, [NUMBER]
        inc     rax
        mov     rcx, KIND               ; canonical, as addresses of MSRs must be, for up to 8 guests
        imul    rax, rcx
        shl     rax, 17
        shr     rax, 17
        mov     [own], rax
        mov     [OWN_MEMORY], rax
        mov     cr2, rax
        own_msr MSR_FS_BASE, 1
        own_msr MSR_KERNEL_GS_BASE, 2
        own_msr MSR_STAR, 3
        own_msr MSR_LSTAR, 4
        call    own_pat
        mov     ecx, MSR_PAT
        wrmsr
        fninit
        fild    qword [own]
        mov     rax, [own]
%assign n 0
%rep 16
        movq    xmm %+ n, rax
        punpcklqdq xmm %+ n, xmm %+ n
    %assign n n + 1
%endrep
        mov     eax, eax                ; bits 63:32 of a debug register must be 0 where they are checked
        mov     dr0, rax
        mov     dr1, rax
        mov     dr2, rax
        mov     dr3, rax

.round: mov     rax, [rounds]
        cmp     rax, [COUNT]
        je      .done
        inc     qword [rounds]
        mov     rax, [own]
        mov     rbx, rax
        mov     rcx, rax
        mov     rdx, rax
        mov     rsi, rax
        mov     rdi, rax
        mov     rbp, rax
        mov     r8, rax
        mov     r9, rax
        mov     r10, rax
        mov     r11, rax
        mov     r12, rax
        mov     r13, rax
        mov     r14, rax
        mov     r15, rax
        hypercall CALL_YIELD
        call    check
        jmp     .round

.done:  witness 'ME', [NUMBER]
        witness 'GENERAL', [general]
        witness 'VECTORS', [vectors]
        witness 'X87', [x87]
        witness 'DEBUG', [debugs]
        witness 'MSRS', [msrs]
        witness 'CR2', [cr2s]
        witness 'PAT', [pats]
        witness 'MEMORY', [memory]
        witness 'ROUNDS', [rounds]
        finish  STATUS_GOOD

; IN        everything as it was when the others got their turn
; OUT       the counters
; CLOBBERS  everything but RSP and what is looked at later
check:
        check_register rbx
        check_register rcx
        check_register rdx
        check_register rsi
        check_register rdi
        check_register rbp
        check_register r8
        check_register r9
        check_register r10
        check_register r11
        check_register r12
        check_register r13
        check_register r14
        check_register r15
        count_wrong general
%assign n 0
%rep 16
        movq    rcx, xmm %+ n
        check_register rcx
        movaps  [scratch], xmm %+ n
        check_register [scratch + 8]
    %assign n n + 1
%endrep
        count_wrong vectors
        fld     st0
        fistp   qword [scratch]
        check_register [scratch]
        count_wrong x87
        mov     ebx, [own]
%assign n 0
%rep 4
        mov     rax, dr %+ n
        sub     rax, rbx
        or      [wrong], rax
    %assign n n + 1
%endrep
        count_wrong debugs
        check_msr MSR_FS_BASE, 1
        check_msr MSR_KERNEL_GS_BASE, 2
        check_msr MSR_STAR, 3
        check_msr MSR_LSTAR, 4
        count_wrong msrs
        mov     rcx, cr2
        check_register rcx
        count_wrong cr2s
        call    own_pat
        mov     ebx, eax
        mov     ecx, MSR_PAT
        rdmsr
        sub     eax, ebx
        or      [wrong], rax
        sub     edx, PAT_UPPER
        or      [wrong], rdx
        count_wrong pats
        check_register [OWN_MEMORY]
        count_wrong memory
        ret

; IN        nothing
; OUT       EDX:EAX = a PAT whose first type is WB, or WP with an odd number
; CLOBBERS  RAX RDX
own_pat:
        mov     eax, [NUMBER]
        and     eax, 1
        neg     eax
        add     eax, PAT_UPPER
        mov     edx, PAT_UPPER
        ret

align 16, db 0
scratch:        dq 0, 0
own:            dq 0
wrong:          dq 0
rounds:         dq 0
general:        dq 0
vectors:        dq 0
x87:            dq 0
debugs:         dq 0
msrs:           dq 0
cr2s:           dq 0
pats:           dq 0
memory:         dq 0
