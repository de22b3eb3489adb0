; fuzz: a guest that means no good: `count` operations, drawn at random, that a hypervisor must not mind.
;
; Operations  CPUID of any leaf; RDMSR and WRMSR of any register; the SVM instructions; VMMCALL with numbers that are
;             none; reads of any port, and writes of watched ones that ask for nothing; writes of the local APIC's
;             registers, among them INIT and start-up interrupts to any processor; non-maskable interrupts to itself;
;             accesses where no memory is; bits of CR4 that are none; stores that are changed before they are executed;
;             MONITOR, MWAIT, INVD.
; Left out    what a guest of a whole machine may rightly do and not survive: power-off, reset, system management
;             interrupts to itself.
; Seed        the count, so that each count is another sequence, the same each time.
; Witness     `FUZZ` (operations done), `FAULTS` (how many of them faulted), `NMIS` (non-maskable interrupts that came)
; Needs       a whole machine: guest=pc.fuzz
; Ends        status 0

%include "guest.inc"
%include "longmode.inc"
%include "svm.inc"

APIC                    equ 0FEE00000h
APIC_PD                 equ 2A000h      ; maps the 1 GiB that the APIC is in
APIC_PDPT_ENTRY         equ PDPT + 3 * 8
APIC_PD_ENTRY           equ APIC_PD + 8 * ((APIC >> 21) & 1FFh)
PTE_CACHE_DISABLE       equ 1 << 4
HOLE                    equ 0D0000000h  ; below the APIC, above any memory that a machine of the suite has
HOLE_PD_ENTRY           equ APIC_PD + 8 * ((HOLE >> 21) & 1FFh)
APIC_ICR                equ 300h
ICR_FIXED_MASK          equ 0C08FFh     ; vector, logical, shorthand: with IF = 0 they only wait
APIC_ICR_HIGH           equ 310h
ICR_NMI                 equ 4400h
ICR_INIT                equ 500h
ICR_STARTUP             equ 600h
MSR_X2APIC_ICR          equ 830h
GOLDEN                  equ 9E3779B97F4A7C15h
NMI                     equ 2
OPERATIONS              equ (operations.end - operations) / 8

; The next random number. OUT RAX. CLOBBERS nothing else; R15 is the state, never 0
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
        mov     dword [APIC_PD_ENTRY], APIC | PTE_TABLE | PTE_LARGE | PTE_CACHE_DISABLE
        mov     dword [HOLE_PD_ENTRY], HOLE | PTE_TABLE | PTE_LARGE | PTE_CACHE_DISABLE
        mov     eax, nmi
        mov     [IDT + NMI * GATE_SIZE], ax
        mov     r14, [COUNT]
        mov     r15, GOLDEN
        xor     r15, r14
        xor     r13d, r13d              ; done
        xor     r12d, r12d              ; faults
.next:  cmp     r13, r14
        jae     .done
        mov     dword [fault_vector], NO_FAULT
        mov     qword [fault_resume], .after
        random
        shr     rax, 8
        xor     edx, edx
        mov     ecx, OPERATIONS
        div     rcx
        call    [operations + rdx * 8]
.after: mov     qword [fault_resume], 0
        mov     rsp, STACK_TOP          ; a fault left the return address there
        inc     r13
        cmp     dword [fault_vector], NO_FAULT
        je      .next
        inc     r12
        jmp     .next
.done:  witness 'FUZZ', r13
        witness 'FAULTS', r12
        mov     r8, [nmis]
        witness 'NMIS', r8
        finish  STATUS_GOOD

; A non-maskable interrupt: it may come at any time behind its command.
nmi:    inc     qword [nmis]
        iretq
align 8, db 0
nmis:   dq      0

align 8, db 0
operations:
        dq      op_cpuid, op_rdmsr, op_wrmsr, op_svm, op_vmmcall, op_in, op_out, op_apic_read, op_apic_write
        dq      op_command, op_nmi, op_hole, op_cr4, op_patched, op_rare
.end:

; Every operation:
; IN        R15 = state of the random numbers
; OUT       returns, or faults
; CLOBBERS  all but RSP and R12 to R14

op_cpuid:
        call    some_number
        mov     eax, ecx
        mov     ecx, r10d
        and     ecx, 0Fh
        cpuid
        ret

op_rdmsr:
        call    some_number
        rdmsr
        ret

; An interrupt command of the x2APIC may do what op_command does, no more.
op_wrmsr:
        call    some_number
        random
        mov     edx, eax
        shr     rax, 32
        cmp     ecx, MSR_X2APIC_ICR
        jne     .write
        and     eax, ICR_FIXED_MASK
.write: wrmsr
        ret

op_svm:
        random
        mov     ecx, 7
        xor     edx, edx
        div     rcx
        random
        and     eax, 1FF000h
        xor     ecx, ecx
        jmp     [.which + rdx * 8]
align 8, db 0
.which: dq      .vmrun, .vmload, .vmsave, .stgi, .clgi, .skinit, .invlpga
.vmrun: vmrun
        ret
.vmload: vmload
        ret
.vmsave: vmsave
        ret
.stgi:  stgi
        ret
.clgi:  clgi
        ret
.skinit: skinit
        ret
.invlpga: invlpga
        ret

op_vmmcall:
        random
        bts     eax, 30                 ; none that exists
        vmmcall
        ret

; A watched port by any size, or any port by bytes: wider reads of its serial port end some versions of QEMU.
op_in:
        call    some_port
        random
        test    eax, 300h
        jz      .size
        mov     edx, eax
        shr     edx, 16
        jmp     .byte
.size:  and     eax, 3
        jmp     [.which + rax * 8]
align 8, db 0
.which: dq      .byte, .byte, .word, .dword
.byte:  in      al, dx
        ret
.word:  in      ax, dx
        ret
.dword: in      eax, dx
        ret

; What is written to the ports of reset has the bits of reset clear, and no command of the keyboard controller's has
; arguments that are left to chance.
op_out:
        call    some_port
        random
        and     al, 0Ah
        cmp     dx, 64h
        jne     .write
        mov     al, 0ADh                ; disable the keyboard
.write: out     dx, al
        ret

op_apic_read:
        random
        and     eax, 0FF0h
        mov     edx, APIC
        mov     eax, [rdx + rax]
        ret

; Registers that take any value without an interrupt that IF = 0 does not hold back.
op_apic_write:
        random
        mov     ecx, eax
        and     ecx, 3
        movzx   ecx, word [.registers + rcx * 2]
        shr     rax, 16
        mov     edx, APIC
        mov     [rdx + rcx], eax
        ret
.registers: dw  80h, 0B0h, 0D0h, 310h

op_command:
        random
        mov     ecx, eax
        and     ecx, ICR_FIXED_MASK
        shr     rax, 40
        and     eax, 3
        or      ecx, [.modes + rax * 4]
        mov     edx, APIC
        mov     [rdx + APIC_ICR], ecx
        ret
.modes: dd      ICR_INIT, ICR_STARTUP, ICR_INIT | 0C000h, 0

op_nmi:
        mov     edx, APIC
        mov     dword [rdx + APIC_ICR_HIGH], 0  ; the processor that the firmware started
        mov     dword [rdx + APIC_ICR], ICR_NMI
        ret

; Nobody answers there: reads are all ones, writes are lost.
op_hole:
        random
        mov     ecx, eax
        and     ecx, 1FFFF8h
        add     ecx, HOLE
        bt      eax, 30
        jc      .write
        mov     rax, [rcx]
        ret
.write: mov     [rcx], eax
        ret

op_cr4:
        random
        and     eax, 1Fh
        or      eax, 20h                ; bits 63:32 are reserved, all of them
        mov     ecx, CR4_PAE
        bts     rcx, rax
        mov     cr4, rcx
        mov     ecx, CR4_PAE            ; some engine took it
        mov     cr4, rcx
        ret

; A store to the APIC's task priority whose source was chosen just before.
op_patched:
        random
        and     eax, 7
        shl     eax, 3
        or      eax, 7                  ; mod = 00, r/m = RDI
        mov     [.modrm], al
        mov     edi, APIC + 80h
        jmp     .fresh                  ; modified code is fetched after a jump at the latest
.fresh: db      89h                     ; mov [rdi], r32
.modrm: db      7
        ret

op_rare:
        random
        and     eax, 3
        jmp     [.which + rax * 8]
align 8, db 0
.which: dq      .monitor, .mwait, .invd, .rdpmc
.monitor: xor   eax, eax
        xor     ecx, ecx
        xor     edx, edx
        monitor
        ret
.mwait: xor     eax, eax
        xor     ecx, ecx
        mwait
        ret
.invd:  invd
        ret
.rdpmc: mov     ecx, 40000000h
        rdpmc
        ret

; OUT       DX = a port that is watched. CLOBBERS RAX RCX
some_port:
        random
        xor     edx, edx
        mov     ecx, PORTS
        div     rcx
        movzx   edx, word [.ports + rdx * 2]
        ret
.ports: dw      64h, 92h, 0F4h, 0CF9h, 8900h
PORTS                   equ ($ - .ports) / 2

; OUT       ECX = the number of a register or a leaf: one near those that exist, or any; R10 = a random number
; CLOBBERS  RAX RDX
some_number:
        random
        mov     r10, rax
        shr     r10, 32
        mov     ecx, eax
        and     ecx, 7Fh
        shr     eax, 16
        and     eax, 0Fh
        cmp     eax, BASES
        jae     .any
        add     ecx, [.bases + rax * 4]
        ret
.any:   random
        mov     ecx, eax
        ret
align 4, db 0
.bases: dd      0, 100h, 1C0h, 200h, 400h, 800h, 0D80h, 40000000h, 80000000h
        dd      0C0000080h, 0C0000100h, 0C0010000h, 0C0010100h, 0C0011000h
BASES                   equ ($ - .bases) / 4
