; hidden: looks for SVM everywhere a processor shows it.
;
; Witness   CPUID1C CPUID8C CPUIDAA CPUIDAB CPUIDAD, EFER, WEFER (write SVME = 1), VMCR HSAVE SVMKEY (RDMSR),
;           WVMCR WHSAVE WSVMKEY (WRMSR 0), then the SVM instructions.
; Expects   the hypervisor bit and nothing of SVM; #GP(0) for the MSRs and for SVME; #UD for the instructions.
; Ends      status 0

%include "guest.inc"
%include "longmode.inc"
%include "svm.inc"

CPUID_FEATURES          equ 1
CPUID_EXTENDED          equ 80000001h
CPUID_SVM               equ 8000000Ah

; %1 = name, %2 = function, %3 = 32-bit register that CPUID returns. CLOBBERS RAX RBX RCX RDX R8 R9
%macro attempt_cpuid 3
        attempt
        mov     eax, %2
        xor     ecx, ecx
        cpuid
        mov     r8d, %3
        attempted %1
%endmacro

; %1 = name, %2 = MSR. CLOBBERS RAX RCX RDX R8
%macro attempt_rdmsr 2
        attempt
        mov     ecx, %2
        rdmsr
        shl     rdx, 32
        or      rax, rdx
        mov     r8, rax
        attempted %1
%endmacro

; %1 = name, %2 = MSR; writes 0. CLOBBERS RAX RCX RDX R8
%macro attempt_wrmsr 2
        attempt
        mov     ecx, %2
        xor     eax, eax
        xor     edx, edx
        wrmsr
        attempted %1
%endmacro

main:
        attempt_cpuid 'CPUID1C', CPUID_FEATURES, ecx
        attempt_cpuid 'CPUID8C', CPUID_EXTENDED, ecx
        attempt_cpuid 'CPUIDAA', CPUID_SVM, eax
        attempt_cpuid 'CPUIDAB', CPUID_SVM, ebx
        attempt_cpuid 'CPUIDAD', CPUID_SVM, edx
        attempt_rdmsr 'EFER', MSR_EFER
        attempt
        mov     ecx, MSR_EFER
        rdmsr
        or      eax, EFER_SVME
        wrmsr
        attempted 'WEFER'
        attempt_rdmsr 'VMCR', MSR_VM_CR
        attempt_rdmsr 'HSAVE', MSR_VM_HSAVE_PA
        attempt_rdmsr 'SVMKEY', MSR_SVM_KEY
        attempt_wrmsr 'WVMCR', MSR_VM_CR
        attempt_wrmsr 'WHSAVE', MSR_VM_HSAVE_PA
        attempt_wrmsr 'WSVMKEY', MSR_SVM_KEY
        attempt_svm_instructions
        finish  STATUS_GOOD
