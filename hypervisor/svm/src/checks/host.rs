//! The facts of a processor that VMRUN's rules depend on.

use core::arch::x86_64::CpuidResult;

use crate::features::{LEAF_ADDRESS_WIDTHS, LEAF_EXTENDED_FEATURES, LEAF_MAX_EXTENDED, LEAF_SVM, SvmFeatures, SvmLeaf};
use crate::regs::{Cr0, Cr4, Efer};

/// A processor as VMRUN's rules see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    /// CPUID Fn8000_0008_EAX\[7:0\], 8 bits: width of a physical address.
    pub physical_bits: u8,
    /// CPUID Fn8000_000A_EBX, 32 bits: number of ASIDs, the host's included.
    pub asids: u32,
    /// CPUID Fn8000_000A_EDX, 32 bits.
    pub features: SvmFeatures,
    /// The CR4 bits that this processor has; the others must be 0 (SVM-15.5.1-C-007).
    pub cr4: Cr4,
    /// The EFER bits that this processor has; the others must be 0 (SVM-15.5.1-C-010).
    pub efer: Efer,
    /// CR0 of the host at VMRUN: nested paging needs PG (SVM-15.25.3-002).
    pub cr0: Cr0,
}

impl Host {
    /// Asks CPUID, given as a function of leaf (EAX) and subleaf (ECX); `cr0` is the host's at VMRUN. The processor must
    /// have passed [`crate::enable::decide`].
    pub fn from_cpuid(cpuid: impl Fn(u32, u32) -> CpuidResult, cr0: Cr0) -> Self {
        let max_basic = cpuid(0, 0).eax;
        let max_extended = cpuid(LEAF_MAX_EXTENDED, 0).eax;
        let ask = |leaf: u32, present: bool| {
            if present {
                cpuid(leaf, 0)
            } else {
                CpuidResult {
                    eax: 0,
                    ebx: 0,
                    ecx: 0,
                    edx: 0,
                }
            }
        };
        let basic = cpuid(1, 0);
        let structured = ask(7, max_basic >= 7);
        let extended = cpuid(LEAF_EXTENDED_FEATURES, 0);
        let widths = ask(LEAF_ADDRESS_WIDTHS, max_extended >= LEAF_ADDRESS_WIDTHS);
        let newer = ask(0x8000_0021, max_extended >= 0x8000_0021);
        let svm = SvmLeaf::decode(cpuid(LEAF_SVM, 0));
        Self {
            physical_bits: if widths.eax == 0 { 36 } else { widths.eax as u8 },
            asids: svm.asids,
            features: svm.features,
            cr4: cr4_bits(basic, structured),
            efer: efer_bits(extended, widths, newer),
            cr0,
        }
    }

    /// True if the processor has long mode.
    pub(super) const fn has_long_mode(&self) -> bool {
        self.efer.contains(Efer::LME)
    }
}

/// The CR4 bits that Fn0000_0001 and Fn0000_0007 announce (volume 2, 3.1.3).
fn cr4_bits(basic: CpuidResult, structured: CpuidResult) -> Cr4 {
    let announced = [
        (basic.edx, 1, Cr4::VME.union(Cr4::PVI)),
        (basic.edx, 2, Cr4::DE),
        (basic.edx, 3, Cr4::PSE),
        (basic.edx, 4, Cr4::TSD),
        (basic.edx, 6, Cr4::PAE),
        (basic.edx, 7, Cr4::MCE),
        (basic.edx, 13, Cr4::PGE),
        (basic.edx, 24, Cr4::OSFXSR),
        (basic.edx, 25, Cr4::OSXMMEXCPT),
        (basic.ecx, 17, Cr4::PCIDE),
        (basic.ecx, 26, Cr4::OSXSAVE),
        (structured.ebx, 0, Cr4::FSGSBASE),
        (structured.ebx, 7, Cr4::SMEP),
        (structured.ebx, 20, Cr4::SMAP),
        (structured.ecx, 2, Cr4::UMIP),
        (structured.ecx, 3, Cr4::PKE),
        (structured.ecx, 7, Cr4::CET),
        (structured.ecx, 16, Cr4::LA57),
    ];
    select(announced).fold(Cr4::PCE, Cr4::union)
}

/// The EFER bits that Fn8000_0001, Fn8000_0008 and Fn8000_0021 announce (volume 2, 3.1.7).
fn efer_bits(extended: CpuidResult, widths: CpuidResult, newer: CpuidResult) -> Efer {
    let announced = [
        (extended.edx, 11, Efer::SCE),
        (extended.edx, 20, Efer::NXE),
        (extended.edx, 25, Efer::FFXSR),
        (extended.edx, 29, Efer::LME.union(Efer::LMA)),
        (extended.edx & !widths.ebx << 9, 29, Efer::LMSLE), // Fn8000_0008_EBX[20]: LMSLE is not supported
        (extended.ecx, 2, Efer::SVME),
        (extended.ecx, 17, Efer::TCE),
        (widths.ebx, 8, Efer::MCOMMIT),
        (widths.ebx, 13, Efer::INTWB),
        (newer.eax, 7, Efer::UAIE),
        (newer.eax, 8, Efer::AIBRSE),
    ];
    select(announced).fold(Efer::empty(), Efer::union)
}

/// The flags whose bit is set in the register beside them.
fn select<F, const N: usize>(announced: [(u32, u32, F); N]) -> impl Iterator<Item = F> {
    announced
        .into_iter()
        .filter(|(register, bit, _)| register >> bit & 1 != 0)
        .map(|(_, _, flag)| flag)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: CpuidResult = CpuidResult {
        eax: 0,
        ebx: 0,
        ecx: 0,
        edx: 0,
    };

    /// A processor that announces everything, up to these leaves.
    fn everything(max_basic: u32, max_extended: u32) -> Host {
        let cpuid = |leaf, _| match leaf {
            0 => CpuidResult {
                eax: max_basic,
                ..NOTHING
            },
            0x8000_0000 => CpuidResult {
                eax: max_extended,
                ..NOTHING
            },
            0x8000_0008 => CpuidResult {
                eax: 0x3030,
                ebx: !(1 << 20),
                ..NOTHING
            },
            0x8000_000a => CpuidResult {
                eax: 1,
                ebx: 16,
                edx: 1,
                ..NOTHING
            },
            _ if leaf > max_extended || leaf < 0x8000_0000 && leaf > max_basic => panic!("{leaf:#x} is not there"),
            _ => CpuidResult {
                eax: !0,
                ebx: !0,
                ecx: !0,
                edx: !0,
            },
        };
        Host::from_cpuid(cpuid, Cr0::PG)
    }

    #[test]
    fn everything_announced_is_every_named_bit() {
        let host = everything(7, 0x8000_0021);
        assert_eq!((host.cr4, host.efer), (Cr4::all(), Efer::all()));
        assert_eq!(
            (host.physical_bits, host.asids, host.features),
            (48, 16, SvmFeatures::NP)
        );
    }

    #[test]
    fn missing_leaves_announce_nothing() {
        let host = everything(6, 0x8000_000a);
        assert!(
            !host
                .cr4
                .intersects(Cr4::SMEP | Cr4::SMAP | Cr4::UMIP | Cr4::LA57 | Cr4::CET | Cr4::FSGSBASE)
        );
        assert!(!host.efer.intersects(Efer::UAIE | Efer::AIBRSE) && host.efer.contains(Efer::MCOMMIT));
        assert_eq!(cr4_bits(NOTHING, NOTHING), Cr4::PCE);
        assert_eq!(efer_bits(NOTHING, NOTHING, NOTHING), Efer::empty());
    }

    #[test]
    fn long_mode_segment_limits_are_there_unless_denied() {
        let long = CpuidResult {
            edx: 1 << 29,
            ..NOTHING
        };
        let denied = CpuidResult {
            ebx: 1 << 20,
            ..NOTHING
        };
        assert!(efer_bits(long, NOTHING, NOTHING).contains(Efer::LMSLE));
        assert!(!efer_bits(long, denied, NOTHING).contains(Efer::LMSLE));
        assert!(!efer_bits(NOTHING, NOTHING, NOTHING).contains(Efer::LMSLE));
    }
}
