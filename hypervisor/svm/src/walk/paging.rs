//! The four kinds of page tables, reduced to the numbers in which they differ (volume 2, 5.2 and 5.3).

use crate::addr::GuestPhys;
use crate::regs::{Cr0, Cr4, Efer, long_mode};

/// A guest's paging: what its control registers, and the address width that it believes in, come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paging {
    pub(super) mode: Mode,
    cr3: u64,
    physical_bits: u8,
    pse: bool,
    /// EFER.NXE, where entries have 64 bits.
    pub(super) nx: bool,
    /// CR0.WP.
    pub(super) wp: bool,
    /// CR4.SMEP.
    pub(super) smep: bool,
    /// CR4.SMAP.
    pub(super) smap: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// CR0.PG is 0: linear is physical.
    Off,
    /// 32-bit entries, 4-KiB and (CR4.PSE) 4-MiB pages (5.2.2).
    TwoLevel,
    /// 64-bit entries, four of them in the root (5.2.3).
    Pae,
    /// Long mode, 4 levels (5.3).
    Four,
    /// Long mode, 5 levels: CR4.LA57.
    Five,
}

/// Where a linear address leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The image, to the byte.
    pub physical: GuestPhys,
    /// Bytes in the page: 4 KiB, 2 MiB, 4 MiB or 1 GiB.
    pub size: u64,
    /// Every level has R/W = 1. CR0.WP = 0 lets the supervisor write without it.
    pub writable: bool,
    /// Every level has U/S = 1.
    pub user: bool,
    /// No level has NX = 1.
    pub executable: bool,
}

impl Translation {
    /// Without paging everything is allowed.
    pub(super) const fn identity(linear: u64) -> Self {
        Self {
            physical: GuestPhys(linear),
            size: 4096,
            writable: true,
            user: true,
            executable: true,
        }
    }
}

/// The bits `low` to `high`, both included.
const fn bits(low: u32, high: u32) -> u64 {
    (u64::MAX >> (63 - high)) & (u64::MAX << low)
}

impl Paging {
    /// The paging that these registers select. `physical_bits` is the width that CPUID Fn8000_0008 shows to the guest.
    #[must_use]
    pub const fn new(cr0: Cr0, cr3: u64, cr4: Cr4, efer: Efer, physical_bits: u8) -> Self {
        let mode = if !cr0.contains(Cr0::PG) {
            Mode::Off
        } else if !long_mode(cr0, efer) {
            if cr4.contains(Cr4::PAE) {
                Mode::Pae
            } else {
                Mode::TwoLevel
            }
        } else if cr4.contains(Cr4::LA57) {
            Mode::Five
        } else {
            Mode::Four
        };
        Self {
            mode,
            cr3,
            physical_bits,
            pse: cr4.contains(Cr4::PSE),
            nx: efer.contains(Efer::NXE) && !matches!(mode, Mode::TwoLevel),
            wp: cr0.contains(Cr0::WP),
            smep: cr4.contains(Cr4::SMEP),
            smap: cr4.contains(Cr4::SMAP),
        }
    }

    /// The linear address as paging uses it: 32 bits outside long mode, canonical inside, otherwise `None`. Without
    /// paging it is taken as it is.
    pub(super) const fn effective(&self, linear: u64) -> Option<u64> {
        let unused = match self.mode {
            Mode::Off => return Some(linear),
            Mode::TwoLevel | Mode::Pae => return Some(linear & 0xffff_ffff),
            Mode::Four => 16,
            Mode::Five => 7,
        };
        let extended = ((linear << unused) as i64 >> unused) as u64;
        if extended == linear { Some(linear) } else { None }
    }

    /// Number of levels, `None` without paging.
    pub(super) const fn levels(&self) -> Option<u8> {
        match self.mode {
            Mode::Off => None,
            Mode::TwoLevel => Some(2),
            Mode::Pae => Some(3),
            Mode::Four => Some(4),
            Mode::Five => Some(5),
        }
    }

    /// The root table's address in CR3.
    pub(super) const fn root(&self) -> GuestPhys {
        GuestPhys(match self.mode {
            Mode::Off => 0,
            Mode::TwoLevel => self.cr3 & bits(12, 31),
            Mode::Pae => self.cr3 & bits(5, 31),
            Mode::Four | Mode::Five => self.cr3 & bits(12, 51),
        })
    }

    /// Address bits below those that index a table of `level`.
    const fn shift(&self, level: u8) -> u32 {
        let step = if matches!(self.mode, Mode::TwoLevel) { 10 } else { 9 };
        12 + step * (level as u32 - 1)
    }

    /// The address of the entry of `level`.
    pub(super) const fn slot(&self, table: GuestPhys, linear: u64, level: u8) -> GuestPhys {
        let index = linear >> self.shift(level);
        GuestPhys(match self.mode {
            Mode::TwoLevel => table.0 + 4 * (index & 0x3ff),
            _ => table.0 + 8 * (index & 0x1ff),
        })
    }

    /// The entry at an address, out of the 8 bytes that contain it.
    pub(super) const fn select(&self, raw: u64, at: GuestPhys) -> u64 {
        match self.mode {
            Mode::TwoLevel => raw >> (8 * (at.0 & 4)) & 0xffff_ffff,
            _ => raw,
        }
    }

    /// True if the entry maps a page rather than a table.
    pub(super) const fn is_leaf(&self, entry: u64, level: u8) -> bool {
        let large = entry & 1 << 7 != 0;
        match (self.mode, level) {
            (_, 1) => true,
            (Mode::TwoLevel, 2) => self.pse && large,
            (_, 2) | (Mode::Four | Mode::Five, 3) => large,
            _ => false,
        }
    }

    /// False for the root of PAE, whose permission bits are reserved.
    pub(super) const fn carries_permissions(&self, level: u8) -> bool {
        !matches!((self.mode, level), (Mode::Pae, 3))
    }

    /// The bits that must be 0 in an entry.
    pub(super) const fn reserved(&self, level: u8, leaf: bool) -> u64 {
        if matches!(self.mode, Mode::TwoLevel) {
            return if leaf && level == 2 { 1 << 21 } else { 0 }; // 20:13 are address bits 39:32
        }
        let address = if self.physical_bits < 52 {
            bits(self.physical_bits as u32, 51)
        } else {
            0
        };
        let no_execute = if self.nx { 0 } else { 1 << 63 };
        let own = match (self.mode, level) {
            (Mode::Pae, 3) => bits(1, 2) | bits(5, 8) | bits(52, 63),
            (Mode::Pae, _) => bits(52, 62),
            (_, 4 | 5) => 1 << 7,
            _ => 0,
        };
        // Between the PAT bit (12) and the page's own address bits.
        let inside = if leaf && level > 1 {
            bits(13, self.shift(level) - 1)
        } else {
            0
        };
        address | no_execute | own | inside
    }

    /// The table that an entry points to.
    pub(super) const fn next_table(&self, entry: u64) -> GuestPhys {
        GuestPhys(entry & bits(12, 51))
    }

    /// The translation of a leaf; permissions are left to the walk.
    pub(super) const fn translation(&self, entry: u64, level: u8, linear: u64) -> Translation {
        let size = 1 << self.shift(level);
        let base = match (self.mode, level) {
            (Mode::TwoLevel, 2) => entry & bits(22, 31) | (entry & bits(13, 20)) << 19,
            _ => entry & bits(12, 51) & !(size - 1),
        };
        let physical = GuestPhys(base | linear & (size - 1));
        Translation {
            physical,
            size,
            ..Translation::identity(0)
        }
    }
}
