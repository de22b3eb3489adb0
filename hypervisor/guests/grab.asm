; grab: touches memory that may be the hypervisor's.
;
; Needs     a whole machine: guest=pc.grab (in 2 MiB of its own the address is ordinary memory)
; Touches   `count`: the address, a multiple of 4, plus what is done there: 0 read, 1 write, 2 execute
; Ends      never by itself where it has no memory: that is a nested page fault, which the hypervisor reports; status 1 if
;           it is none

%include "guest.inc"
%include "longmode.inc"

READ                    equ 0
WRITE                   equ 1
LARGE_PAGE              equ 1 << 21
LARGE_PAGES             equ 512

main:
        mov     eax, PTE_TABLE | PTE_LARGE
        mov     edi, PD
        mov     ecx, LARGE_PAGES        ; 1 GiB, where it is
.map:   mov     [rdi], rax
        add     edi, 8
        add     eax, LARGE_PAGE
        loop    .map
        mov     rax, [COUNT]
        mov     ecx, eax
        and     ecx, 3
        xor     eax, ecx
        cmp     ecx, WRITE
        jb      .read
        ja      .execute
        mov     [rax], ecx
        jmp     .wrong
.read:  mov     eax, [rax]
.wrong: finish  STATUS_WRONG
.execute:
        call    rax
        jmp     .wrong
