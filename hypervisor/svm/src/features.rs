//! CPUID as far as SVM is concerned: Fn8000_0001_ECX and Fn8000_000A (15.4, volume 3 appendix E).

use core::arch::x86_64::CpuidResult;

use bitflags::bitflags;

/// CPUID leaf of the greatest extended leaf.
pub const LEAF_MAX_EXTENDED: u32 = 0x8000_0000;
/// CPUID leaf of the extended features.
pub const LEAF_EXTENDED_FEATURES: u32 = 0x8000_0001;
/// CPUID leaf of the address widths.
pub const LEAF_ADDRESS_WIDTHS: u32 = 0x8000_0008;
/// CPUID leaf of SVM; reserved when SVM is absent (SVM-15.4-014).
pub const LEAF_SVM: u32 = 0x8000_000a;

bitflags! {
    /// CPUID Fn8000_0001_ECX, 32 bits: the bits of SVM (SVM-CPUID-001). The others are kept.
    #[repr(transparent)]
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct ExtendedFeatures: u32 {
        /// Bit 2: SVM is there; it stays set when firmware disables SVM (SVM-15.4-001, -016).
        const SVM = 1 << 2;
        /// Bit 12: SKINIT and STGI work without EFER.SVME (SVM-15.4-011).
        const SKINIT = 1 << 12;
    }
}

bitflags! {
    /// CPUID Fn8000_000A_EDX, 32 bits: optional parts of SVM (SVM-CPUID-002, SVM-15.4-015). Unnamed bits are kept.
    #[repr(transparent)]
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct SvmFeatures: u32 {
        /// Bit 0: nested paging (15.25).
        const NP = 1 << 0;
        /// Bit 1: last-branch record virtualization (15.23).
        const LBR_VIRT = 1 << 1;
        /// Bit 2: SVM-lock: VM_CR.LOCK and SVM_KEY (15.31, SVM-15.4-003, -004).
        const SVML = 1 << 2;
        /// Bit 3: next RIP on #VMEXIT (15.7.1).
        const NRIPS = 1 << 3;
        /// Bit 4: TSC_RATIO (15.30.5).
        const TSC_RATE_MSR = 1 << 4;
        /// Bit 5: VMCB clean bits (15.15).
        const VMCB_CLEAN = 1 << 5;
        /// Bit 6: TLB_CONTROL 3 and 7 (15.16.1).
        const FLUSH_BY_ASID = 1 << 6;
        /// Bit 7: decode assists (15.8.4).
        const DECODE_ASSISTS = 1 << 7;
        /// Bit 8: performance-counter virtualization (15.39).
        const PMC_VIRT = 1 << 8;
        /// Bit 10: PAUSE filter count (15.14.4).
        const PAUSE_FILTER = 1 << 10;
        /// Bit 12: PAUSE filter threshold (15.14.4).
        const PAUSE_FILTER_THRESHOLD = 1 << 12;
        /// Bit 13: AVIC (15.29).
        const AVIC = 1 << 13;
        /// Bit 15: VMLOAD and VMSAVE virtualization (15.33.1).
        const VMSAVE_VIRT = 1 << 15;
        /// Bit 16: virtual GIF (15.33.2).
        const VGIF = 1 << 16;
        /// Bit 17: guest-mode execute trap (15.25.13).
        const GMET = 1 << 17;
        /// Bit 18: x2AVIC (15.29).
        const X2AVIC = 1 << 18;
        /// Bit 19: supervisor shadow-stack checks (15.25.14).
        const SSS_CHECK = 1 << 19;
        /// Bit 20: SPEC_CTRL virtualization (15.37).
        const SPEC_CTRL = 1 << 20;
        /// Bit 21: read-only guest page tables (SVM-15.25.5-006).
        const ROGPT = 1 << 21;
        /// Bit 23: the host takes machine checks that the guest's CR4.MCE would turn into shutdown.
        const HOST_MCE_OVERRIDE = 1 << 23;
        /// Bit 24: INVLPGB and TLBSYNC in a guest.
        const TLBI_CTL = 1 << 24;
        /// Bit 25: virtual NMI (15.21.10).
        const VNMI = 1 << 25;
        /// Bit 26: instruction-based sampling virtualization (15.38).
        const IBS_VIRT = 1 << 26;
        /// Bit 27: accesses to the extended LVT are AVIC faults rather than traps.
        const EXT_LVT_AVIC = 1 << 27;
        /// Bit 28: VMCB addresses of a nested guest are checked.
        const NESTED_VMCB_ADDR_CHECK = 1 << 28;
        /// Bit 29: bus-lock threshold (15.14.5).
        const BUS_LOCK_THRESHOLD = 1 << 29;
        /// Bit 30: the intercept of idle HLT.
        const IDLE_HLT_INTERCEPT = 1 << 30;
    }
}

/// CPUID Fn8000_000A, decoded (SVM-15.4-014).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SvmLeaf {
    /// EAX bits 7:0: the revision, 1 or more where SVM exists.
    pub revision: u8,
    /// EBX, 32 bits: how many ASIDs there are, the host's 0 included (SVM-15.5.1-037).
    pub asids: u32,
    /// EDX, 32 bits: optional parts.
    pub features: SvmFeatures,
}

impl SvmLeaf {
    /// Decodes what CPUID Fn8000_000A returned.
    #[must_use]
    pub const fn decode(leaf: CpuidResult) -> Self {
        Self {
            revision: leaf.eax as u8,
            asids: leaf.ebx,
            features: SvmFeatures::from_bits_retain(leaf.edx),
        }
    }
}

/// The vendors that implement SVM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vendor {
    /// `AuthenticAMD`.
    Amd,
    /// `HygonGenuine`.
    Hygon,
}

impl Vendor {
    /// The vendor that CPUID Fn0000_0000 names in EBX, EDX, ECX, if it is one that implements SVM.
    #[must_use]
    pub fn decode(leaf: CpuidResult) -> Option<Self> {
        match &vendor_string(leaf) {
            b"AuthenticAMD" => Some(Self::Amd),
            b"HygonGenuine" => Some(Self::Hygon),
            _ => None,
        }
    }
}

/// The twelve bytes of the vendor's name in CPUID Fn0000_0000: EBX, EDX, ECX.
#[must_use]
pub fn vendor_string(leaf: CpuidResult) -> [u8; 12] {
    let mut name = [0; 12];
    for (part, register) in name.chunks_exact_mut(4).zip([leaf.ebx, leaf.edx, leaf.ecx]) {
        part.copy_from_slice(&register.to_le_bytes());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &[u8; 12]) -> CpuidResult {
        let word = |at: usize| u32::from_le_bytes(name[at..at + 4].try_into().expect("four bytes"));
        CpuidResult {
            eax: 0x10,
            ebx: word(0),
            edx: word(4),
            ecx: word(8),
        }
    }

    #[test]
    fn two_vendors_have_svm() {
        assert_eq!(Vendor::decode(named(b"AuthenticAMD")), Some(Vendor::Amd));
        assert_eq!(Vendor::decode(named(b"HygonGenuine")), Some(Vendor::Hygon));
        assert_eq!(Vendor::decode(named(b"GenuineIntel")), None);
        assert_eq!(&vendor_string(named(b"GenuineIntel")), b"GenuineIntel");
    }

    #[test]
    fn the_svm_leaf_decodes() {
        let leaf = SvmLeaf::decode(CpuidResult {
            eax: 0xffff_ff01,
            ebx: 0x8000,
            ecx: 0,
            edx: 0x0000_0409,
        });
        assert_eq!((leaf.revision, leaf.asids), (1, 0x8000));
        assert_eq!(
            leaf.features,
            SvmFeatures::NP | SvmFeatures::NRIPS | SvmFeatures::PAUSE_FILTER
        );
    }
}
