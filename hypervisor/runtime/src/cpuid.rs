//! The CPUID instruction.

/// What CPUID returned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Leaf {
    pub eax: u32,
    pub ebx: u32,
    pub ecx: u32,
    pub edx: u32,
}

/// Executes CPUID with EAX = `function` and ECX = `subfunction`.
pub fn cpuid(function: u32, subfunction: u32) -> Leaf {
    // Newer compilers call the intrinsic safe, the oldest supported one does not.
    #[allow(unused_unsafe)]
    // SAFETY: every processor with long mode has CPUID, and it only writes these registers.
    let leaf = unsafe { core::arch::x86_64::__cpuid_count(function, subfunction) };
    Leaf {
        eax: leaf.eax,
        ebx: leaf.ebx,
        ecx: leaf.ecx,
        edx: leaf.edx,
    }
}
