; CPUID, RDMSR and WRMSR, each in one place.
;
; Purpose   Whoever watches this image from outside sets breakpoints on these instructions. An engine runs the pages
;           that hold breakpoints slowly, so they share the section .sensitive with the world switch and the last act,
;           and nothing else is on its pages (image.ld).
; Manual    APM vol. 3, CPUID; vol. 2, 3.2 "Model-specific registers".
; Contract  System V calls, 64-bit. The return address is on top of the stack at each of these instructions, so an
;           observer can name the caller.

bits 64
global sensitive_cpuid, sensitive_rdmsr, sensitive_wrmsr

; Where RDMSR and WRMSR go on when they fault: src/fixup.rs.
section .fixups progbits alloc noexec nowrite align=8
        dq      sensitive_rdmsr.insn, faulted
        dq      sensitive_wrmsr.insn, faulted

section .sensitive progbits alloc exec nowrite align=16
; IN        EDI = leaf, ESI = subleaf, RDX = where four 32-bit numbers go: EAX, EBX, ECX, EDX
; OUT       [RDX]
; CLOBBERS  RAX RCX RDX R8 R9
sensitive_cpuid:
        mov     r8, rbx
        mov     r9, rdx
        mov     eax, edi
        mov     ecx, esi
        cpuid
        mov     [r9], eax
        mov     [r9 + 4], ebx
        mov     [r9 + 8], ecx
        mov     [r9 + 12], edx
        mov     rbx, r8
        ret

; IN        EDI = register
; OUT       RDX = 0 and RAX = its value; or RDX = 1 and RAX = what `faulted` says
; CLOBBERS  RCX
sensitive_rdmsr:
        mov     ecx, edi
.insn:  rdmsr
        shl     rdx, 32
        or      rax, rdx
        xor     edx, edx
        ret

; IN        EDI = register, RSI = value
; OUT       RDX = 0; or RDX = 1 and RAX = what `faulted` says
; CLOBBERS  RAX RCX
sensitive_wrmsr:
        mov     ecx, edi
        mov     eax, esi
        mov     rdx, rsi
        shr     rdx, 32
.insn:  wrmsr
        xor     edx, edx
        ret

; IN        RAX = vector, RDX = error code
; OUT       RDX = 1, RAX = vector in bits 31:0, error code in bits 63:32
faulted:
        shl     rdx, 32
        or      rax, rdx
        mov     edx, 1
        ret
