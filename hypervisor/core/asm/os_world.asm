; The world switch of a guest that is an operating system: what VMRUN does not move, and no more.
;
; Purpose   Each exit costs the guest time, so what the host can do without stays the guest's while the host runs: the
;           registers that VMLOAD and VMSAVE move (FS, GS, TR, LDTR, KernelGSbase, STAR and its kin, SYSENTER's), XCR0, the
;           upper halves of the vector registers (legacy SSE instructions keep them), DR0 to DR3.
; Manual    APM vol. 2, 15.5.1 "Basic operation", 15.5.2 (VMLOAD), 15.17 (GIF).
; Contract  System V calls, 64-bit, RFLAGS.IF = 0, EFER.SVME = 1, VM_HSAVE_PA set. GIF stays 0 while the host runs: what
;           arrives meanwhile waits for the next VMRUN and is the guest's. No gate of the host's may need the TSS.

%include "world.inc"

bits 64
global leave_host, run_guest, stop_processor

section .rodata progbits alloc noexec nowrite align=4
host_mxcsr:     dd 1F80h                ; all SSE exceptions masked: what Rust expects

; Where the host goes on when VMRUN itself faults: runtime/src/fixup.rs.
section .fixups progbits alloc noexec nowrite align=8
        dq      run_guest.vmrun, run_guest.faulted

section .sensitive progbits alloc exec nowrite align=16
; IN        RDI = physical address of the guest's VMCB
; OUT       GIF = 0, and the registers that VMLOAD moves are the guest's
; CLOBBERS  RAX
leave_host:
        clgi
        mov     rax, rdi
        vmload
        ret

; IN        RDI = registers, RSI = physical address of the guest's VMCB
; OUT       RAX = 0: the guest ran and #VMEXIT told why in its VMCB; else VMRUN faulted and nothing ran:
;           bits 7:0 the vector, bits 63:32 the error code
; CLOBBERS  what a System V call may
run_guest:
        push_preserved
        push    rdi

        mov     rax, rsi
        load_guest
.vmrun: vmrun

        pop     rax                     ; registers
        store_guest
        xor     eax, eax                ; the result

.back:  ldmxcsr [host_mxcsr]
        pop_preserved
        ret

; VMRUN faulted: RAX = vector, RDX = error code, the other registers hold what was loaded for the guest.
.faulted:
        pop     rcx                     ; registers
        shl     rdx, 32
        add     rax, rdx
        jmp     .back

; IN        nothing
; OUT       does not return: the processor takes the INIT that GIF = 0 held back, and waits for a start-up interrupt
stop_processor:
        stgi
.stop:  hlt
        jmp     .stop
