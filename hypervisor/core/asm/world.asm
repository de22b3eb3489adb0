; The world switch: from the host into the guest, and back at #VMEXIT.
;
; Purpose   VMRUN moves RAX, RSP, RIP, RFLAGS, the control registers and four segments; everything else is moved here.
; Manual    APM vol. 2, 15.5.1 "Basic operation" (VMRUN, host save area), 15.5.2 (VMSAVE and VMLOAD), 15.17 (GIF).
; Memory    The stack holds what must survive: at VMRUN, from RSP up: host VMCB, guest VMCB, registers.
; Left out  DR0 to DR3: they are the guest's while the host runs. The host uses no breakpoints, and cannot run into the
;           guest's, because #VMEXIT disables all in DR7, which VMRUN loads from the VMCB with DR6 (15.5.1, 15.6).
;           src/turns.rs moves them when another guest gets its turn.
; Contract  System V call, 64-bit, RFLAGS.IF = 0, EFER.SVME = 1, VM_HSAVE_PA set.

%include "world.inc"

bits 64
global enter_guest
%ifdef DEFECTS
extern left_out                         ; src/defect.rs
%endif

section .rodata progbits alloc noexec nowrite align=4
host_mxcsr:     dd 1F80h                ; all SSE exceptions masked: what Rust expects

; Where the host goes on when VMRUN itself faults: runtime/src/fixup.rs.
section .fixups progbits alloc noexec nowrite align=8
        dq      enter_guest.vmrun, enter_guest.faulted

section .sensitive progbits alloc exec nowrite align=16
; IN        RDI = registers, RSI = physical address of the guest's VMCB, RDX = operand of VMRUN (the same address, but
;           for a seeded defect), RCX = physical address of a VMCB that keeps the host's FS, GS, TR, LDTR and MSRs,
;           R8 = 1: physical interrupts may end the guest's turn, 0: they wait
; OUT       RAX = 0: the guest ran and #VMEXIT told why in its VMCB; else VMRUN faulted and nothing ran:
;           bits 7:0 the vector, bits 63:32 the error code
; CLOBBERS  what a System V call may
enter_guest:
        push_preserved
        push    rdi
        push    rsi
        push    rcx
        push    rdx

%ifdef DEFECTS
        test    byte [left_out], 1
        jnz     .open
%endif
        clgi                            ; from here to STGI nothing may interrupt: half of the state is the guest's
.open:
        test    r8d, r8d
        jz      .closed
        sti                             ; the host's IF gates them while the guest runs (15.21.1); until VMRUN GIF does
.closed:
        mov     rax, rcx
        vmsave
        mov     rax, rsi
        vmload
        load_guest
        pop     rax
.vmrun: vmrun

        mov     rax, [rsp + 8]          ; guest VMCB
        vmsave
        mov     rax, [rsp + 16]         ; registers
        store_guest
        xor     ebx, ebx                ; the result

.back:  fninit
        ldmxcsr [host_mxcsr]
        pop     rax                     ; host VMCB
%ifdef DEFECTS
        test    byte [left_out], 2
        jnz     .left
%endif
        vmload
.left:
        add     rsp, 16
        stgi
        nop                             ; what ended the guest's turn is taken here, if RFLAGS.IF is 1
        cli
        mov     rax, rbx
        pop_preserved
        ret

; VMRUN faulted: RAX = vector, RDX = error code, the other registers hold what was loaded for the guest.
.faulted:
        shl     rdx, 32
        lea     rbx, [rdx + rax]
        jmp     .back
