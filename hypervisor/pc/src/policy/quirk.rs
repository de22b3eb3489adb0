//! Mistakes of processors that CPUID shows, and that a guest which believes CPUID would die of.

use core::arch::x86_64::CpuidResult;

/// What the processor cannot do though CPUID announces it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quirks {
    /// QEMU's TCG takes CR4.OSXSAVE for reserved where XSAVE is there without any of its extensions (`cr4_reserved_bits()`
    /// looks at Fn0000_000D_EAX_x1, not at XSAVE's own bit): MOV to CR4 and VMRUN end in VMEXIT_INVALID, and on the bare
    /// machine in nothing good either. Its models Opteron_G4 and Opteron_G5 are so.
    without_xsave: bool,
}

const LEAF_HYPERVISOR: u32 = 0x4000_0000;
const LEAF_XSAVE: u32 = 0xD;
/// EBX, ECX, EDX of [`LEAF_HYPERVISOR`] each.
const TCG: u32 = u32::from_le_bytes(*b"TCGT");
const XSAVE: u32 = 1 << 26;
/// XSAVE, and what nobody can use without it: FMA, AVX, F16C.
const NEEDS_XSAVE_1_ECX: u32 = XSAVE | 1 << 12 | 1 << 28 | 1 << 29;
/// AVX2.
const NEEDS_XSAVE_7_EBX: u32 = 1 << 5;
/// XOP, LWP, FMA4.
const NEEDS_XSAVE_81_ECX: u32 = 1 << 11 | 1 << 15 | 1 << 16;

impl Quirks {
    /// Finds out what this processor is; `cpuid` executes CPUID.
    #[must_use]
    pub fn of(cpuid: impl Fn(u32, u32) -> CpuidResult) -> Self {
        let is_tcg = cpuid(LEAF_HYPERVISOR, 0).ebx == TCG;
        let has_xsave = cpuid(1, 0).ecx & XSAVE != 0;
        Self {
            without_xsave: is_tcg && has_xsave && cpuid(LEAF_XSAVE, 1).eax == 0,
        }
    }

    /// What the processor answers, less what it cannot do.
    #[must_use]
    #[inline]
    pub const fn correct(self, function: u32, subfunction: u32, host: CpuidResult) -> CpuidResult {
        if !self.without_xsave {
            return host;
        }
        let CpuidResult { eax, ebx, ecx, edx } = host;
        match (function, subfunction) {
            (1, _) => CpuidResult {
                ecx: ecx & !NEEDS_XSAVE_1_ECX,
                ..host
            },
            (7, 0) => CpuidResult {
                ebx: ebx & !NEEDS_XSAVE_7_EBX,
                ..host
            },
            (LEAF_XSAVE, _) => CpuidResult {
                eax: 0,
                ebx: 0,
                ecx: 0,
                edx: 0,
            },
            (0x8000_0001, _) => CpuidResult {
                eax,
                ebx,
                ecx: ecx & !NEEDS_XSAVE_81_ECX,
                edx,
            },
            _ => host,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: CpuidResult = CpuidResult {
        eax: !0,
        ebx: !0,
        ecx: !0,
        edx: !0,
    };

    /// A processor that announces all, but for what the closure changes.
    fn quirks(change: impl Fn(u32, u32, &mut CpuidResult)) -> Quirks {
        Quirks::of(|function, subfunction| {
            let mut answer = ALL;
            if function == LEAF_HYPERVISOR {
                answer.ebx = TCG;
            }
            change(function, subfunction, &mut answer);
            answer
        })
    }

    fn without_extensions(function: u32, subfunction: u32, answer: &mut CpuidResult) {
        if (function, subfunction) == (LEAF_XSAVE, 1) {
            answer.eax = 0;
        }
    }

    #[test]
    fn tcg_with_a_plain_xsave_has_none() {
        let quirks = quirks(without_extensions);
        assert!(quirks.without_xsave);
        for (function, register) in [(1, 2), (7, 1), (0x8000_0001, 2)] {
            let CpuidResult { eax, ebx, ecx, edx } = quirks.correct(function, 0, ALL);
            let told = [eax, ebx, ecx, edx];
            for (index, value) in told.into_iter().enumerate() {
                assert_eq!(value != !0, index == register, "{function:#x}: {told:x?}");
            }
        }
        assert_eq!(quirks.correct(1, 0, ALL).ecx & XSAVE, 0);
        assert_eq!(quirks.correct(LEAF_XSAVE, 0, ALL).ebx, 0);
        assert_eq!(quirks.correct(0, 0, ALL), ALL);
    }

    #[test]
    fn others_keep_what_they_have() {
        let with_extensions = quirks(|_, _, _| ());
        let of_another = quirks(|function, subfunction, answer| {
            without_extensions(function, subfunction, answer);
            answer.ebx = !0;
        });
        let without_any = quirks(|function, subfunction, answer| {
            without_extensions(function, subfunction, answer);
            if function == 1 {
                answer.ecx &= !XSAVE;
            }
        });
        for quirks in [with_extensions, of_another, without_any] {
            assert_eq!(quirks, Quirks::default());
            assert_eq!(quirks.correct(1, 0, ALL), ALL);
        }
    }
}
