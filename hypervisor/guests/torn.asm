; torn: tears its own page tables, by chance, and goes on as if nothing were.
;
; Seed      `count`; a round changes one entry of PML4, PDPT or PD, mostly one that is in use: a bit of it, all of it, or so
;           that it leads to the hypervisor's image or to a page of devices
; Then      flushes the TLB or not, and executes what makes a hypervisor look at the code: CPUID, RDMSR, a store to the APIC
; Witness   TORN (rounds done), when it comes to that
; Ends      as the tables will have it: shutdown, a touch of what it does not have; status 0 after all rounds
; Needs     a whole machine

%include "guest.inc"
%include "longmode.inc"

GOLDEN                  equ 9E3779B97F4A7C15h
ROUNDS                  equ 32
IMAGE                   equ 100000h
APIC                    equ 0FEE00000h
APIC_TPR                equ 80h
APIC_PD                 equ 2A000h      ; maps the 1 GiB that the APIC is in
APIC_PDPT_ENTRY         equ PDPT + 3 * 8
APIC_PD_ENTRY           equ APIC_PD + 8 * ((APIC >> 21) & 1FFh)
TABLES                  equ 3

; OUT RAX = the next random number. CLOBBERS nothing else; R15 is the state, never 0
%macro random 0
        mov     rax, r15
        shl     rax, 13
        xor     r15, rax
        mov     rax, r15
        shr     rax, 7
        xor     r15, rax
        mov     rax, r15
        shl     rax, 17
        xor     r15, rax
        mov     rax, r15
%endmacro

main:
        mov     dword [APIC_PDPT_ENTRY], APIC_PD | PTE_TABLE
        mov     dword [APIC_PD_ENTRY], APIC | PTE_TABLE | PTE_LARGE
        mov     r15, GOLDEN
        xor     r15, [COUNT]
        xor     r13d, r13d
.round: mov     qword [fault_resume], .next
        call    tear
        bt      r15, 33
        jc      .use
        mov     rax, cr3
        mov     cr3, rax
.use:   xor     eax, eax
        cpuid
        mov     ecx, MSR_EFER
        rdmsr
        mov     edi, APIC
        mov     dword [rdi + APIC_TPR], 0
.next:  mov     rsp, STACK_TOP
        inc     r13
        cmp     r13, ROUNDS
        jb      .round
        mov     qword [fault_resume], 0
        witness 'TORN', r13
        finish  STATUS_GOOD

; Changes an entry.
; CLOBBERS  RAX RCX RDX RDI
tear:
        random
        xor     edx, edx
        mov     ecx, TABLES
        div     rcx
        imul    edi, edx, 1000h
        add     edi, PML4
        random
        bt      eax, 20                 ; entry 0, or any
        jc      .which
        and     eax, 0FF8h
        add     edi, eax
.which: random
        shr     eax, 24
        and     eax, 3
        jmp     [.kinds + rax * 8]
align 8, db 0
.kinds: dq      .bit, .all, .image, .devices
.bit:   random
        and     eax, 63
        btc     [rdi], rax
        ret
.all:   random
        mov     [rdi], rax
        ret
.image: mov     qword [rdi], IMAGE | PTE_TABLE
        ret
.devices:
        mov     eax, APIC | PTE_TABLE
        mov     [rdi], rax
        ret
