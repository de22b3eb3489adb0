//! An entry of a page table, 64 bits (volume 2, 5.3; the same for nested tables, 15.25.5).

use bitflags::bitflags;

use crate::addr::HostPhys;

bitflags! {
    /// The bits of an entry beside the address.
    #[repr(transparent)]
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct EntryFlags: u64 {
        /// Bit 0: the entry counts.
        const PRESENT = 1 << 0;
        /// Bit 1: writable (SVM-15.25.7-001).
        const WRITABLE = 1 << 1;
        /// Bit 2: for user accesses, which every guest access is at the nested level (SVM-15.25.7-005).
        const USER = 1 << 2;
        /// Bit 3: writethrough, the low bit of the PAT index.
        const WRITETHROUGH = 1 << 3;
        /// Bit 4: cache disable, the next bit of the PAT index.
        const CACHE_DISABLE = 1 << 4;
        /// Bit 5: was used (SVM-15.25.5-003).
        const ACCESSED = 1 << 5;
        /// Bit 6: was written (SVM-15.25.5-003).
        const DIRTY = 1 << 6;
        /// Bit 7, level 2 and up: a page rather than a table.
        const LARGE = 1 << 7;
        /// Bit 8: survives a write of CR3; no meaning in nested tables.
        const GLOBAL = 1 << 8;
        /// Bit 63: no code is fetched; reserved while the host's EFER.NXE is 0 (SVM-15.25.7-004).
        const NO_EXECUTE = 1 << 63;
    }
}

/// An entry: a physical address in bits 51:12, and flags.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry(pub u64);

impl Entry {
    /// Bits 51:12.
    pub(super) const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

    /// An entry for a page or table. Bits outside 51:12 of the address are dropped.
    #[must_use]
    pub const fn new(physical: HostPhys, flags: EntryFlags) -> Self {
        Self(physical.0 & Self::ADDRESS | flags.bits())
    }

    /// Where the page or table is. Bit 12 of a large page's entry is its PAT bit, so 2-MiB pages drop bits 20:12.
    #[must_use]
    pub const fn address(self) -> HostPhys {
        let mask = if self.is_large() {
            Self::ADDRESS & !0x1f_ffff
        } else {
            Self::ADDRESS
        };
        HostPhys(self.0 & mask)
    }

    /// The flags, without the address.
    #[must_use]
    pub const fn flags(self) -> EntryFlags {
        EntryFlags::from_bits_truncate(self.0)
    }

    /// Bit 0.
    #[must_use]
    pub const fn is_present(self) -> bool {
        self.flags().contains(EntryFlags::PRESENT)
    }

    /// True for the entry of a large page. Entries of level 1 that this crate makes never have the bit (it is their PAT
    /// bit).
    #[must_use]
    pub const fn is_large(self) -> bool {
        self.flags().contains(EntryFlags::LARGE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_and_flags_do_not_mix() {
        let all = Entry::new(HostPhys(u64::MAX), EntryFlags::NO_EXECUTE | EntryFlags::PRESENT);
        assert_eq!(all.0, 0x800f_ffff_ffff_f001);
        assert_eq!(all.address(), HostPhys(0x000f_ffff_ffff_f000));
        assert_eq!(all.flags(), EntryFlags::NO_EXECUTE | EntryFlags::PRESENT);
        assert!(all.is_present() && !all.is_large() && !Entry(!1).is_present());
    }

    #[test]
    fn a_large_page_starts_at_2_mib() {
        assert_eq!(Entry(0x0000_0000_0020_1083).address(), HostPhys(0x20_0000));
        assert_eq!(Entry(0x0000_0000_0020_1003).address(), HostPhys(0x20_1000));
    }
}
