; tasks: switches tasks by hardware, in protected mode without paging: there by CALL and back by IRET, there and back by JMP.
;
; Manual    APM vol. 2, 12.4 "Hardware task management"
; Witness   VISITS = how often the other task ran; what it saw the first time: THERE = its TR, LOADED = its EAX, LINK =
;           the selector of the task to go back to; what the first task finds behind its CALL: BACK = its TR, EBX, and
;           behind its JMP: AGAIN = its TR
; Expects   2, 20h, OTHER_EAX, 18h, 18h, FIRST_EBX, 18h
; Ends      status 0

%include "guest.inc"
%include "witness.inc"

SELECTOR_CODE           equ 08h
SELECTOR_DATA           equ 10h
SELECTOR_FIRST          equ 18h
SELECTOR_OTHER          equ 20h
CR0_PE                  equ 1 << 0
RFLAGS_ONE              equ 1 << 1
FIRST_EBX               equ 1F1257h
OTHER_EAX               equ 07E12h
OTHER_STACK             equ 7000h

struc tss
.link   resd 1
        resd 6                          ; stacks of CPL 0 to 2
.cr3    resd 1
.eip    resd 1
.eflags resd 1
.eax    resd 1
        resd 3
.esp    resd 1
        resd 3
.es     resd 1
.cs     resd 1
.ss     resd 1
.ds     resd 1
        resd 2
.ldt    resd 1
        resw 1
.iomap  resw 1
endstruc

        lgdt    [gdtr]
        mov     eax, cr0
        or      al, CR0_PE
        mov     cr0, eax
        jmp     SELECTOR_CODE:protected

        bits    32
protected:
        mov     eax, SELECTOR_DATA
        mov     ds, eax
        mov     es, eax
        mov     ss, eax
        mov     esp, LOAD_ADDRESS
        mov     eax, SELECTOR_FIRST
        ltr     ax

        mov     ebx, FIRST_EBX
        call    SELECTOR_OTHER:0        ; the offset has no meaning
        mov     [found_ebx], ebx
        str     [back]
        jmp     SELECTOR_OTHER:0
        str     [again]

; %1 %2 = name, %3 = where the value is. CLOBBERS EAX EDI
%macro add 3
        mov     eax, [%3]
        mov     dword [edi + ENTRY_NAME], %1
        mov     dword [edi + ENTRY_NAME + 4], %2
        mov     dword [edi + ENTRY_VECTOR], NO_FAULT
        mov     dword [edi + ENTRY_ERROR], 0
        mov     [edi + ENTRY_VALUE], eax
        mov     dword [edi + ENTRY_VALUE + 4], 0
        add     edi, WITNESS_ENTRY_SIZE
        inc     dword [WITNESS + WITNESS_COUNT]
%endmacro

        mov     edi, WITNESS + WITNESS_ENTRIES
        mov     dword [WITNESS + WITNESS_COUNT], 0
        add     'VISI', 'TS', visits
        add     'THER', 'E', there
        add     'LOAD', 'ED', loaded
        add     'LINK', 0, link
        add     'BACK', 0, back
        add     'EBX', 0, found_ebx
        add     'AGAI', 'N', again
        mov     dword [WITNESS], WITNESS_MAGIC
        finish  STATUS_GOOD

; The other task, as its TSS says.
other:  inc     dword [visits]
        str     [there]
        mov     [loaded], eax
        movzx   eax, word [tss_other + tss.link]
        mov     [link], eax
        iretd                           ; NT is 1
        inc     dword [visits]          ; here it goes on
        jmp     SELECTOR_FIRST:0

align 8, db 0
gdt:    dq      0
        dq      00CF9B000000FFFFh       ; 32-bit code
        dq      00CF93000000FFFFh       ; data
        dw      tss_size - 1, tss_first, 8900h, 0
        dw      tss_size - 1, tss_other, 8900h, 0
gdt_end:
gdtr:   dw      gdt_end - gdt - 1
        dd      gdt

align 128, db 0
tss_first:
        times   tss_size db 0
align 128, db 0
tss_other:
istruc tss
at .eip,        dd other
at .eflags,     dd RFLAGS_ONE
at .eax,        dd OTHER_EAX
at .esp,        dd OTHER_STACK
at .es,         dd SELECTOR_DATA
at .cs,         dd SELECTOR_CODE
at .ss,         dd SELECTOR_DATA
at .ds,         dd SELECTOR_DATA
at .iomap,      dw tss_size
iend

align 4, db 0
visits:         dd 0
there:          dd 0
loaded:         dd 0
link:           dd 0
back:           dd 0
found_ebx:      dd 0
again:          dd 0
