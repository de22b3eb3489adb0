//! What a write to CR0, CR3, CR4 or EFER makes of a guest's mode, or that it is illegal (volume 2, 3.1, and the
//! consistency checks of long mode in 14.6).
//!
//! `processor` is the one that the guest believes in: what CPUID hides from it is reserved.

use crate::addr::fits;
use crate::checks::Host;
use crate::regs::{Cr0, Cr4, Efer, long_mode};

/// The registers that decide how a guest's addresses are translated, as the guest sees them: EFER without SVME.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SystemRegisters {
    /// CR0.
    pub cr0: Cr0,
    /// CR3.
    pub cr3: u64,
    /// CR4.
    pub cr4: Cr4,
    /// EFER, without SVME.
    pub efer: Efer,
}

/// The write raises #GP(0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Illegal;

/// Err if the condition holds.
const fn illegal_if(condition: bool) -> Result<(), Illegal> {
    if condition { Err(Illegal) } else { Ok(()) }
}

impl SystemRegisters {
    /// As after reset, but for the caches, which are on.
    pub const RESET: Self = Self {
        cr0: Cr0::ET,
        cr3: 0,
        cr4: Cr4::empty(),
        efer: Efer::empty(),
    };

    /// Writes CR0; `long_code` is CS.L. EFER.LMA follows paging.
    ///
    /// # Errors
    /// What must not be written.
    pub fn write_cr0(mut self, value: u64, long_code: bool) -> Result<Self, Illegal> {
        illegal_if(!fits(value, 32))?;
        let cr0 = Cr0::from_bits_truncate(value) | Cr0::ET;
        illegal_if(cr0.contains(Cr0::PG) && !cr0.contains(Cr0::PE))?;
        illegal_if(cr0.contains(Cr0::NW) && !cr0.contains(Cr0::CD))?;
        let (before, after) = (long_mode(self.cr0, self.efer), long_mode(cr0, self.efer));
        // Into long mode with 64-bit tables, and from legacy code, where CS.L means nothing.
        illegal_if(!before && after && (!self.cr4.contains(Cr4::PAE) || long_code))?;
        // Out of it from compatibility mode only. While it is not active, CS.L means nothing here either.
        illegal_if(before && !after && long_code)?;
        self.efer.set(Efer::LMA, after);
        self.cr0 = cr0;
        Ok(self)
    }

    /// Writes CR3.
    ///
    /// # Errors
    /// An address that does not exist.
    pub const fn write_cr3(mut self, value: u64, processor: &Host) -> Result<Self, Illegal> {
        if !fits(value, processor.physical_bits) {
            return Err(Illegal);
        }
        self.cr3 = value;
        Ok(self)
    }

    /// Writes CR4.
    ///
    /// # Errors
    /// A bit that the processor lacks, or no PAE in long mode.
    pub fn write_cr4(mut self, value: u64, processor: &Host) -> Result<Self, Illegal> {
        let cr4 = Cr4::from_bits_retain(value);
        illegal_if(!processor.cr4.contains(cr4))?;
        illegal_if(long_mode(self.cr0, self.efer) && !cr4.contains(Cr4::PAE))?;
        self.cr4 = cr4;
        Ok(self)
    }

    /// Writes EFER.
    ///
    /// # Errors
    /// A bit that the processor lacks, or SVME, which no guest has; LME, which cannot change while paging is on; or an LMA
    /// other than the one that the processor makes of LME and CR0.PG.
    pub fn write_efer(mut self, value: u64, processor: &Host) -> Result<Self, Illegal> {
        let efer = Efer::from_bits_retain(value);
        let writable = processor.efer - Efer::SVME;
        illegal_if(!writable.contains(efer))?;
        illegal_if(self.cr0.contains(Cr0::PG) && (self.efer ^ efer).contains(Efer::LME))?;
        illegal_if(efer.contains(Efer::LMA) != long_mode(self.cr0, efer))?;
        self.efer = efer;
        Ok(self)
    }

    /// Whether translations made with these registers are none with those: a hypervisor that puts them into the VMCB must
    /// flush (SVM-15.16-003).
    #[must_use]
    pub fn needs_flush(&self, after: &Self) -> bool {
        const CR0: Cr0 = Cr0::PG.union(Cr0::WP).union(Cr0::CD).union(Cr0::NW);
        const CR4: Cr4 = Cr4::PGE.union(Cr4::PAE).union(Cr4::PSE);
        const EFER: Efer = Efer::NXE.union(Efer::LMA).union(Efer::LME);
        (self.cr0 ^ after.cr0).intersects(CR0)
            || (self.cr4 ^ after.cr4).intersects(CR4)
            || (self.efer ^ after.efer).intersects(EFER)
            || self.cr3 != after.cr3
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::SvmFeatures;

    const PROCESSOR: Host = Host {
        physical_bits: 40,
        asids: 0,
        features: SvmFeatures::empty(),
        cr4: Cr4::all().difference(Cr4::UMIP),
        efer: Efer::all(),
        cr0: Cr0::empty(),
    };

    const PROTECTED: u64 = Cr0::PE.bits();
    const PAGED: u64 = Cr0::PE.bits() | Cr0::PG.bits();

    /// Protected mode, everything ready for long mode.
    fn ready() -> SystemRegisters {
        SystemRegisters::RESET
            .write_cr4(Cr4::PAE.bits(), &PROCESSOR)
            .and_then(|registers| registers.write_efer(Efer::LME.bits(), &PROCESSOR))
            .and_then(|registers| registers.write_cr0(PROTECTED, false))
            .unwrap()
    }

    fn long() -> SystemRegisters {
        ready().write_cr0(PAGED, false).unwrap()
    }

    #[test]
    fn cr0_has_illegal_combinations() {
        let write = |value| SystemRegisters::RESET.write_cr0(value, false);
        for bad in [Cr0::PG.bits(), Cr0::NW.bits(), 1 << 32] {
            assert_eq!(write(bad), Err(Illegal), "{bad:#x}");
        }
        for good in [0, PAGED, Cr0::CD.bits(), (Cr0::CD | Cr0::NW).bits()] {
            assert_eq!(
                write(good).unwrap().cr0,
                Cr0::from_bits_retain(good) | Cr0::ET,
                "{good:#x}"
            );
        }
        // Reserved bits below 32 are ignored.
        assert_eq!(write(1 << 28).unwrap().cr0, Cr0::ET);
    }

    #[test]
    fn lma_follows_paging() {
        assert!(!ready().efer.contains(Efer::LMA));
        assert_eq!(long().efer, Efer::LME | Efer::LMA);
        assert_eq!(long().write_cr0(PROTECTED, false), Ok(ready()));
        let legacy = ready().write_efer(0, &PROCESSOR).unwrap();
        assert!(!legacy.write_cr0(PAGED, false).unwrap().efer.contains(Efer::LMA));
    }

    #[test]
    fn long_mode_begins_with_pae_and_without_cs_l() {
        assert_eq!(ready().write_cr0(PAGED, true), Err(Illegal));
        let without = ready().write_cr4(0, &PROCESSOR).unwrap();
        assert_eq!(without.write_cr0(PAGED, false), Err(Illegal));
    }

    #[test]
    fn cs_l_counts_in_long_mode_only() {
        assert_eq!(long().write_cr0(PROTECTED, true), Err(Illegal));
        assert!(long().write_cr0(PAGED | Cr0::WP.bits(), true).is_ok());
        // LME without paging is not long mode yet.
        assert!(ready().write_cr0(PROTECTED | Cr0::TS.bits(), true).is_ok());
    }

    #[test]
    fn cr3_ends_where_memory_does() {
        let write = |value| SystemRegisters::RESET.write_cr3(value, &PROCESSOR);
        assert_eq!(write((1 << 40) - 1).unwrap().cr3, (1 << 40) - 1);
        assert_eq!(write(1 << 40), Err(Illegal));
        assert_eq!(write(1 << 63), Err(Illegal));
    }

    #[test]
    fn cr4_has_the_processors_bits() {
        let write = |value: Cr4| ready().write_cr4(value.bits(), &PROCESSOR);
        assert_eq!(write(Cr4::SMEP).unwrap().cr4, Cr4::SMEP);
        assert_eq!(write(Cr4::UMIP), Err(Illegal));
        assert_eq!(write(Cr4::from_bits_retain(1 << 40)), Err(Illegal));
        assert_eq!(long().write_cr4(0, &PROCESSOR), Err(Illegal));
        assert!(long().write_cr4((Cr4::PAE | Cr4::PGE).bits(), &PROCESSOR).is_ok());
    }

    #[test]
    fn efer_has_the_processors_bits_for_a_guest_but_svme() {
        let write = |value: Efer| SystemRegisters::RESET.write_efer(value.bits(), &PROCESSOR);
        let all = Efer::all() - (Efer::SVME | Efer::LMA);
        assert_eq!(write(all).unwrap().efer, all);
        for bad in [Efer::SVME, Efer::from_bits_retain(1 << 63)] {
            assert_eq!(write(bad), Err(Illegal), "{bad:?}");
        }
        let old = Host {
            efer: Efer::all() - Efer::NXE,
            ..PROCESSOR
        };
        assert_eq!(SystemRegisters::RESET.write_efer(Efer::NXE.bits(), &old), Err(Illegal));
    }

    #[test]
    fn long_mode_is_no_matter_of_efer_while_paging() {
        let write = |registers: SystemRegisters, value: Efer| registers.write_efer(value.bits(), &PROCESSOR);
        let active = Efer::LME | Efer::LMA;
        assert_eq!(write(long(), active | Efer::SCE).unwrap().efer, active | Efer::SCE);
        // LMA is neither cleared nor set by software.
        for bad in [Efer::LME, Efer::LMA, Efer::empty()] {
            assert_eq!(write(long(), bad), Err(Illegal), "{bad:?}");
        }
        assert_eq!(write(ready(), active), Err(Illegal));
        assert_eq!(write(ready(), Efer::LMA), Err(Illegal));
        let legacy = SystemRegisters::RESET.write_cr0(PAGED, false).unwrap();
        assert_eq!(write(legacy, Efer::LME), Err(Illegal));
        assert_eq!(write(legacy, active), Err(Illegal));
    }

    #[test]
    fn what_changes_translations_needs_a_flush() {
        let before = long();
        let changed = |change: fn(&mut SystemRegisters)| {
            let mut after = before;
            change(&mut after);
            before.needs_flush(&after)
        };
        assert!(!before.needs_flush(&before));
        assert!(!changed(|after| after.efer ^= Efer::SCE));
        assert!(!changed(|after| after.cr0 ^= Cr0::TS));
        assert!(!changed(|after| after.cr4 ^= Cr4::OSXSAVE));
        assert!(changed(|after| after.efer ^= Efer::NXE));
        assert!(changed(|after| after.cr0 ^= Cr0::WP));
        assert!(changed(|after| after.cr4 ^= Cr4::PGE));
        assert!(changed(|after| after.cr3 ^= 8));
    }
}
