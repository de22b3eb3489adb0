//! The control area's switches: TLB control, nested paging, virtualization enables, clean bits.

use bitflags::bitflags;

use crate::features::SvmFeatures;

/// TLB_CONTROL, 8 bits (VMCB 05Ch, 15.16.1). VMRUN does not reset it (SVM-15.16.1-005).
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TlbControl(pub u8);

impl TlbControl {
    /// 0: flush nothing (SVM-15.16.1-001).
    pub const NONE: Self = Self(0);
    /// 1: flush every entry of every ASID (SVM-15.16.1-002).
    pub const ALL: Self = Self(1);
    /// 3: flush this guest's entries; needs FlushByAsid (SVM-15.16.1-003).
    pub const GUEST: Self = Self(3);
    /// 7: flush this guest's non-global entries; needs FlushByAsid (SVM-15.16.1-004).
    pub const GUEST_NON_GLOBAL: Self = Self(7);

    /// How a guest's translations are flushed on a processor with these features (SVM-15.16.1-011).
    #[must_use]
    pub const fn guest(features: SvmFeatures) -> Self {
        if features.contains(SvmFeatures::FLUSH_BY_ASID) {
            Self::GUEST
        } else {
            Self::ALL
        }
    }

    /// True for an encoding that software may use (SVM-15.16.1-006).
    #[must_use]
    pub const fn is_defined(self) -> bool {
        matches!(self, Self::NONE | Self::ALL | Self::GUEST | Self::GUEST_NON_GLOBAL)
    }
}

bitflags! {
    /// Return-address predictor control, 8 bits (VMCB 05Dh).
    #[repr(transparent)]
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Rap: u8 {
        /// Bit 0: the guest may use the larger predictor.
        const ALLOW_LARGER = 1 << 0;
        /// Bit 1: clear the predictor on VMRUN.
        const CLEAR = 1 << 1;
    }
}

bitflags! {
    /// Nested paging and what goes with it, 64 bits (VMCB 090h, 15.25.3).
    #[repr(transparent)]
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct NestedControl: u64 {
        /// Bit 0: nested paging (SVM-15.25.3-001); illegal while host CR0.PG is 0 (-002).
        const NP_ENABLE = 1 << 0;
        /// Bit 1: Secure Encrypted Virtualization (15.34).
        const SEV = 1 << 1;
        /// Bit 2: encrypted state (15.35).
        const SEV_ES = 1 << 2;
        /// Bit 3: guest-mode execute trap (15.25.13).
        const GMET = 1 << 3;
        /// Bit 4: supervisor shadow-stack checks; illegal without nested paging (SVM-15.25.14-001).
        const SSS_CHECK = 1 << 4;
        /// Bit 5: virtual transparent encryption (15.34.9).
        const VTE = 1 << 5;
        /// Bit 6: guest page tables may be read-only (SVM-15.25.5-006).
        const ROGPT = 1 << 6;
        /// Bit 7: the guest may use INVLPGB and TLBSYNC.
        const INVLPGB = 1 << 7;
    }
}

bitflags! {
    /// Virtualization enables, 64 bits (VMCB 0B8h).
    #[repr(transparent)]
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct VirtualizationControl: u64 {
        /// Bit 0: last-branch records (15.23).
        const LBR = 1 << 0;
        /// Bit 1: VMLOAD and VMSAVE without an exit (15.33.1).
        const VMLOAD_VMSAVE = 1 << 1;
        /// Bit 2: instruction-based sampling (15.38).
        const IBS = 1 << 2;
        /// Bit 3: performance counters (15.39).
        const PMC = 1 << 3;
    }
}

bitflags! {
    /// VMCB_CLEAN, 32 bits (VMCB 0C0h, 15.15): a set bit promises that software left a group of fields unchanged.
    #[repr(transparent)]
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct CleanBits: u32 {
        /// Bit 0: intercept vectors, TSC offset, pause filter.
        const INTERCEPTS = 1 << 0;
        /// Bit 1: IOPM_BASE_PA and MSRPM_BASE_PA.
        const PERMISSION_MAPS = 1 << 1;
        /// Bit 2: the ASID.
        const ASID = 1 << 2;
        /// Bit 3: the virtual interrupt fields of 060h.
        const TPR = 1 << 3;
        /// Bit 4: nested paging: N_CR3, G_PAT and the enables.
        const NESTED = 1 << 4;
        /// Bit 5: CR0, CR3, CR4, EFER.
        const CONTROL_REGISTERS = 1 << 5;
        /// Bit 6: DR6, DR7.
        const DEBUG_REGISTERS = 1 << 6;
        /// Bit 7: GDTR and IDTR.
        const DESCRIPTOR_TABLES = 1 << 7;
        /// Bit 8: CS, DS, SS, ES and the CPL.
        const SEGMENTS = 1 << 8;
        /// Bit 9: CR2.
        const CR2 = 1 << 9;
        /// Bit 10: the last-branch records.
        const LBR = 1 << 10;
        /// Bit 11: the AVIC pointers.
        const AVIC = 1 << 11;
        /// Bit 12: control-flow enforcement: S_CET, SSP, ISST_ADDR.
        const CET = 1 << 12;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_tlb_encodings_are_defined() {
        let defined: Vec<u8> = (0..=255).filter(|&value| TlbControl(value).is_defined()).collect();
        assert_eq!(defined, [0, 1, 3, 7]);
    }

    #[test]
    fn a_guest_is_flushed_alone_where_that_can_be() {
        assert_eq!(TlbControl::guest(SvmFeatures::FLUSH_BY_ASID), TlbControl::GUEST);
        assert_eq!(TlbControl::guest(!SvmFeatures::FLUSH_BY_ASID), TlbControl::ALL);
    }

    #[test]
    fn clean_bits_cover_twelve_down_to_zero() {
        assert_eq!(CleanBits::all().bits(), 0x1fff);
    }
}
