//! CPUID: the processor's answers, less what the guest must not see or cannot use.
//!
//! What is hidden, and why: SVM and SKINIT (the guest is no hypervisor), XSAVE and all that lives in its state (the
//! world switch moves what FXSAVE knows), the APIC, MTRRs and machine checks (nobody emulates them), MONITOR, PCID and
//! INVPCID (shadow paging does not know them), RDTSCP (its MSR is the host's).

use runtime::cpuid::{CpuidResult, cpuid};
use svm::features::{LEAF_ADDRESS_WIDTHS, LEAF_EXTENDED_FEATURES, LEAF_MAX_EXTENDED, LEAF_SVM};

use super::Next;
use crate::defect;
use crate::guest::Guest;

const LEAF_MAX: u32 = 0;
const LEAF_FEATURES: u32 = 1;
const LEAF_STRUCTURED: u32 = 7;
const LEAF_HYPERVISOR: u32 = 0x4000_0000;
const LEAF_BRAND_FIRST: u32 = 0x8000_0002;
const LEAF_TLB_AND_CACHE_LAST: u32 = 0x8000_0006;

const NOTHING: CpuidResult = CpuidResult {
    eax: 0,
    ebx: 0,
    ecx: 0,
    edx: 0,
};

/// EBX, ECX, EDX of the hypervisor leaf: who we are.
const SIGNATURE: &[u8; 12] = b"svmconf hv  ";

/// Fn0000_0001_ECX: there is a hypervisor.
const HYPERVISOR: u32 = 1 << 31;
/// Fn0000_0001_ECX: MONITOR, VMX, SMX, FMA, PCID, x2APIC, TSC deadline, XSAVE, OSXSAVE, AVX, F16C.
const HIDDEN_1_ECX: u32 =
    1 << 3 | 1 << 5 | 1 << 6 | 1 << 12 | 1 << 17 | 1 << 21 | 1 << 24 | 1 << 26 | 1 << 27 | 1 << 28 | 1 << 29;
/// Fn0000_0001_EDX: MCE, APIC, MTRR, MCA.
const HIDDEN_1_EDX: u32 = 1 << 7 | 1 << 9 | 1 << 12 | 1 << 14;
/// Fn0000_0007_0_EBX, shown: FSGSBASE, BMI1, SMEP, BMI2, ERMS, RDSEED, ADX, SMAP, CLFLUSHOPT, CLWB, SHA.
const SHOWN_7_EBX: u32 =
    1 << 0 | 1 << 3 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 18 | 1 << 19 | 1 << 20 | 1 << 23 | 1 << 24 | 1 << 29;
const SVM: u32 = 1 << 2;
/// Fn8000_0001_ECX: extended APIC, OSVW, IBS, XOP, SKINIT, WDT, LWP, FMA4, TCE, node id, topology, performance counters,
/// MONITORX.
const HIDDEN_81_ECX: u32 = 1 << 3
    | 1 << 9
    | 1 << 10
    | 1 << 11
    | 1 << 12
    | 1 << 13
    | 1 << 15
    | 1 << 16
    | 1 << 17
    | 1 << 19
    | 1 << 22
    | 1 << 23
    | 1 << 24
    | 1 << 28
    | 1 << 29;
/// Fn8000_0001_EDX: MCE, APIC, MTRR, MCA (as above), FFXSR, RDTSCP.
const HIDDEN_81_EDX: u32 = HIDDEN_1_EDX | 1 << 25 | 1 << 27;

/// Fn8000_0008_EBX, shown: CLZERO, error pointers always in the FXSAVE image, WBNOINVD. The other bits announce what the
/// guest has not: RDPRU, INVLPGB, MCOMMIT, and MSRs (IBPB, IBRS, STIBP, SSBD, PPIN, CPPC, the count of retired
/// instructions); ECX and EDX tell of cores and of limits of those instructions.
const SHOWN_88_EBX: u32 = 1 << 0 | 1 << 2 | 1 << 9;
/// Fn8000_0008_EBX: EFER.LMSLE is not supported.
const NO_LMSLE: u32 = 1 << 20;

/// Answers CPUID.
pub fn handle(guest: &mut Guest) -> Next {
    let function = guest.rax() as u32;
    let answer = answer(function, guest.registers.rcx as u32);
    guest.set_rax(answer.eax.into());
    guest.registers.rbx = answer.ebx.into();
    guest.registers.rcx = answer.ecx.into();
    guest.registers.rdx = answer.edx.into();
    guest.retire()
}

/// What CPUID shows to the guest.
pub fn answer(function: u32, subfunction: u32) -> CpuidResult {
    let host = || cpuid(function, subfunction);
    match function {
        LEAF_MAX => host(),
        LEAF_FEATURES => {
            let leaf = host();
            CpuidResult {
                ecx: leaf.ecx & !HIDDEN_1_ECX | HYPERVISOR,
                edx: leaf.edx & !HIDDEN_1_EDX,
                ..leaf
            }
        }
        LEAF_STRUCTURED if subfunction == 0 => CpuidResult {
            ebx: host().ebx & SHOWN_7_EBX,
            ..NOTHING
        },
        LEAF_HYPERVISOR => {
            let word =
                |at| u32::from_le_bytes([SIGNATURE[at], SIGNATURE[at + 1], SIGNATURE[at + 2], SIGNATURE[at + 3]]);
            CpuidResult {
                eax: LEAF_HYPERVISOR,
                ebx: word(0),
                ecx: word(4),
                edx: word(8),
            }
        }
        LEAF_MAX_EXTENDED => host(),
        LEAF_EXTENDED_FEATURES => {
            let leaf = host();
            let hidden = if defect::SVM_VISIBLE.is_on() {
                HIDDEN_81_ECX
            } else {
                HIDDEN_81_ECX | SVM
            };
            CpuidResult {
                ecx: leaf.ecx & !hidden,
                edx: leaf.edx & !HIDDEN_81_EDX,
                ..leaf
            }
        }
        LEAF_BRAND_FIRST..=LEAF_TLB_AND_CACHE_LAST => host(),
        LEAF_ADDRESS_WIDTHS => {
            let leaf = host();
            CpuidResult {
                eax: leaf.eax,
                ebx: leaf.ebx & SHOWN_88_EBX | NO_LMSLE,
                ..NOTHING
            }
        }
        // Named, so that nobody has to look for it: the leaf of SVM.
        LEAF_SVM => NOTHING,
        _ => NOTHING,
    }
}
