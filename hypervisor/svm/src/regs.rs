//! Control, debug and flags registers: the bits that SVM's rules and a hypervisor look at (volume 2, chapter 3).
//!
//! Bits without a name are kept (`from_bits_retain`), because a rule may be about exactly those.

use bitflags::bitflags;

bitflags! {
    /// CR0 (3.1.1), 64 bits; 63:32 are reserved and must be 0 in a VMCB (SVM-15.5.1-C-004).
    #[repr(transparent)]
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Cr0: u64 {
        /// Bit 0: protected mode.
        const PE = 1 << 0;
        /// Bit 1: monitor the coprocessor.
        const MP = 1 << 1;
        /// Bit 2: no x87 unit.
        const EM = 1 << 2;
        /// Bit 3: a task switch happened; the next x87 or SSE instruction raises #NM.
        const TS = 1 << 3;
        /// Bit 4: reads as 1.
        const ET = 1 << 4;
        /// Bit 5: x87 errors raise #MF.
        const NE = 1 << 5;
        /// Bit 16: supervisor writes obey read-only pages.
        const WP = 1 << 16;
        /// Bit 18: RFLAGS.AC checks alignment at CPL 3.
        const AM = 1 << 18;
        /// Bit 29: not writethrough; illegal with CD clear (SVM-15.5.1-C-002).
        const NW = 1 << 29;
        /// Bit 30: cache disabled.
        const CD = 1 << 30;
        /// Bit 31: paging.
        const PG = 1 << 31;
    }
}

bitflags! {
    /// CR4 (3.1.3), 64 bits.
    #[repr(transparent)]
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Cr4: u64 {
        /// Bit 0: virtual-8086 mode extensions.
        const VME = 1 << 0;
        /// Bit 1: protected-mode virtual interrupts.
        const PVI = 1 << 1;
        /// Bit 2: RDTSC at CPL 0 only.
        const TSD = 1 << 2;
        /// Bit 3: DR4 and DR5 are no aliases.
        const DE = 1 << 3;
        /// Bit 4: 4-MiB pages in two-level tables.
        const PSE = 1 << 4;
        /// Bit 5: 64-bit page-table entries; a must in long mode (SVM-15.5.1-C-012).
        const PAE = 1 << 5;
        /// Bit 6: machine-check exceptions.
        const MCE = 1 << 6;
        /// Bit 7: global pages.
        const PGE = 1 << 7;
        /// Bit 8: RDPMC at any CPL.
        const PCE = 1 << 8;
        /// Bit 9: FXSAVE and SSE.
        const OSFXSR = 1 << 9;
        /// Bit 10: unmasked SSE exceptions raise #XF.
        const OSXMMEXCPT = 1 << 10;
        /// Bit 11: SGDT, SIDT, SLDT, SMSW and STR at CPL 0 only.
        const UMIP = 1 << 11;
        /// Bit 12: five-level paging.
        const LA57 = 1 << 12;
        /// Bit 16: RDFSBASE and its kin.
        const FSGSBASE = 1 << 16;
        /// Bit 17: process-context identifiers.
        const PCIDE = 1 << 17;
        /// Bit 18: XSAVE and XCR0.
        const OSXSAVE = 1 << 18;
        /// Bit 20: no supervisor fetch from user pages.
        const SMEP = 1 << 20;
        /// Bit 21: no supervisor data access to user pages unless RFLAGS.AC is set.
        const SMAP = 1 << 21;
        /// Bit 22: protection keys.
        const PKE = 1 << 22;
        /// Bit 23: control-flow enforcement; illegal with CR0.WP clear (SVM-15.5.1-C-025).
        const CET = 1 << 23;
    }
}

bitflags! {
    /// EFER, MSR C000_0080h (3.1.7), 64 bits.
    #[repr(transparent)]
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Efer: u64 {
        /// Bit 0: SYSCALL and SYSRET.
        const SCE = 1 << 0;
        /// Bit 8: long mode enabled (takes effect with CR0.PG).
        const LME = 1 << 8;
        /// Bit 10: long mode active; VMRUN ignores it (SVM-15.5.1-C-016).
        const LMA = 1 << 10;
        /// Bit 11: bit 63 of page-table entries forbids execution.
        const NXE = 1 << 11;
        /// Bit 12: SVM instructions; must be 1 in a guest's EFER as well (SVM-15.5.1-C-001).
        const SVME = 1 << 12;
        /// Bit 13: long-mode segment limits.
        const LMSLE = 1 << 13;
        /// Bit 14: fast FXSAVE and FXRSTOR.
        const FFXSR = 1 << 14;
        /// Bit 15: translation-cache extension.
        const TCE = 1 << 15;
        /// Bit 17: MCOMMIT.
        const MCOMMIT = 1 << 17;
        /// Bit 18: interruptible WBINVD.
        const INTWB = 1 << 18;
        /// Bit 20: upper-address ignore.
        const UAIE = 1 << 20;
        /// Bit 21: automatic IBRS.
        const AIBRSE = 1 << 21;
    }
}

bitflags! {
    /// RFLAGS (3.1.6), 64 bits.
    #[repr(transparent)]
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Rflags: u64 {
        /// Bit 0: carry.
        const CF = 1 << 0;
        /// Bit 1: reads as 1.
        const ONE = 1 << 1;
        /// Bit 6: zero.
        const ZF = 1 << 6;
        /// Bit 8: single step.
        const TF = 1 << 8;
        /// Bit 9: interrupts are taken.
        const IF = 1 << 9;
        /// Bit 10: string instructions count down.
        const DF = 1 << 10;
        /// Bit 14: a nested task.
        const NT = 1 << 14;
        /// Bit 16: resume: no instruction breakpoint.
        const RF = 1 << 16;
        /// Bit 17: virtual-8086 mode.
        const VM = 1 << 17;
        /// Bit 18: alignment check, or access to user pages under SMAP.
        const AC = 1 << 18;
    }
}

/// True if these registers make long mode active: EFER.LME and CR0.PG, whatever EFER.LMA says (SVM-15.5.1-C-016).
#[must_use]
pub const fn long_mode(cr0: Cr0, efer: Efer) -> bool {
    efer.contains(Efer::LME) && cr0.contains(Cr0::PG)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unnamed_bits_survive() {
        assert_eq!(Cr0::from_bits_retain(u64::MAX).bits(), u64::MAX);
        assert!(!Cr0::all().contains(Cr0::from_bits_retain(1 << 32)));
    }

    #[test]
    fn long_mode_needs_both_bits_and_not_lma() {
        assert!(long_mode(Cr0::PG, Efer::LME));
        assert!(!long_mode(Cr0::PE, Efer::LME | Efer::LMA));
        assert!(!long_mode(Cr0::PG, Efer::LMA));
    }
}
