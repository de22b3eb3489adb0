//! The CPUID instruction.

pub use core::arch::x86_64::CpuidResult;

/// Executes CPUID with EAX = `function` and ECX = `subfunction`.
pub fn cpuid(function: u32, subfunction: u32) -> CpuidResult {
    // Newer compilers call the intrinsic safe, the oldest supported one does not.
    #[allow(unused_unsafe)]
    // SAFETY: every processor with long mode has CPUID, and it only writes these registers.
    unsafe {
        core::arch::x86_64::__cpuid_count(function, subfunction)
    }
}
