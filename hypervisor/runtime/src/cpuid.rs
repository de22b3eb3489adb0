//! The CPUID instruction.

pub use core::arch::x86_64::CpuidResult;

unsafe extern "sysv64" {
    fn sensitive_cpuid(function: u32, subfunction: u32, answer: &mut [u32; 4]);
}

/// Executes CPUID with EAX = `function` and ECX = `subfunction`.
pub fn cpuid(function: u32, subfunction: u32) -> CpuidResult {
    let mut answer = [0; 4];
    // SAFETY: every processor with long mode has CPUID, and the routine writes nothing but the answer.
    unsafe { sensitive_cpuid(function, subfunction, &mut answer) };
    let [eax, ebx, ecx, edx] = answer;
    CpuidResult { eax, ebx, ecx, edx }
}
