//! Page tables that the hypervisor builds for its guest: nested tables (15.25), and shadow tables where the processor has
//! no nested paging.
//!
//! Four levels serve as nested tables of a host in long mode (SVM-15.25.3-003) and as shadow tables of a guest in long
//! mode; three levels (PAE) as shadow tables of every other guest.

mod entry;

pub use entry::{Entry, EntryFlags};

use crate::addr::HostPhys;

/// Where tables come from and how they are reached: physical memory in a hypervisor, an array in a test.
pub trait TableMemory {
    /// A page of zeroes that nobody else uses, or `None` when there is none left.
    fn allocate(&mut self) -> Option<HostPhys>;
    /// Reads the 8 bytes at an entry's address.
    fn read(&self, entry: HostPhys) -> u64;
    /// Writes them.
    fn write(&mut self, entry: HostPhys, value: u64);
}

/// How many levels tables have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Levels {
    /// PAE: 32-bit addresses; the root has four entries that carry no permissions (volume 2, 5.2.3).
    Three,
    /// Long mode: 48-bit addresses (volume 2, 5.3).
    Four,
}

impl Levels {
    const fn count(self) -> u8 {
        match self {
            Self::Three => 3,
            Self::Four => 4,
        }
    }

    /// True for an address that the tables can express: 32 bits, or 48 bits, zero-extended (guest-physical) or
    /// sign-extended (linear).
    const fn covers(self, address: u64) -> bool {
        match self {
            Self::Three => address >> 32 == 0,
            Self::Four => address >> 48 == 0 || address >> 47 == 0x1_ffff,
        }
    }

    /// The flags of an entry at `level` that points to a table: all permissions, because the leaf decides. An entry of the
    /// root of three levels has none, its permission bits are reserved.
    const fn link(self, level: u8) -> EntryFlags {
        match (self, level) {
            (Self::Three, 3) => EntryFlags::PRESENT,
            _ => EntryFlags::PRESENT.union(EntryFlags::WRITABLE).union(EntryFlags::USER),
        }
    }
}

/// The size of a page, named by the level of its entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageSize {
    /// 4 KiB, an entry of level 1.
    Small,
    /// 2 MiB, an entry of level 2.
    Large,
    /// 1 GiB, an entry of level 3 of four; for processors with CPUID Fn8000_0001_EDX\[Page1GB\].
    Huge,
}

impl PageSize {
    /// Bytes in the page.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        match self {
            Self::Small => 1 << 12,
            Self::Large => 1 << 21,
            Self::Huge => 1 << 30,
        }
    }

    /// True if a page of this size can start there.
    const fn divides(self, address: u64) -> bool {
        address % self.bytes() == 0
    }

    const fn level(self) -> u8 {
        match self {
            Self::Small => 1,
            Self::Large => 2,
            Self::Huge => 3,
        }
    }
}

/// Why a page could not be mapped. The tables are as before, but for empty tables on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapError {
    /// No page is left for a table.
    OutOfTables,
    /// One of the two addresses is not a multiple of the page's size.
    Unaligned,
    /// The tables' levels cannot express the address.
    OutOfRange,
    /// Something is mapped there already.
    Occupied,
}

/// Where an address leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The address's image, to the byte.
    pub physical: HostPhys,
    /// The page's entry.
    pub entry: Entry,
    /// The page's size.
    pub size: PageSize,
}

/// No translation: the entry of this level is not present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotMapped {
    /// 1 for the last level.
    pub level: u8,
}

/// A tree of page tables in `M`.
pub struct Tables<M> {
    memory: M,
    root: HostPhys,
    levels: Levels,
}

impl<M: TableMemory> Tables<M> {
    /// Empty tables: one page of `memory`. With three levels it must lie below 4 GiB, where CR3 can name it.
    ///
    /// # Errors
    /// [`MapError::OutOfTables`], or [`MapError::OutOfRange`] for a root that CR3 cannot name.
    pub fn new(mut memory: M, levels: Levels) -> Result<Self, MapError> {
        let root = memory.allocate().ok_or(MapError::OutOfTables)?;
        if levels == Levels::Three && root.0 >> 32 != 0 {
            return Err(MapError::OutOfRange);
        }
        Ok(Self { memory, root, levels })
    }

    /// What N_CR3 (SVM-15.25.4-001), or the guest's CR3 for shadow tables, must hold.
    pub const fn root(&self) -> HostPhys {
        self.root
    }

    /// Gives the memory back, for example to empty it and to start again.
    pub fn into_memory(self) -> M {
        self.memory
    }

    /// The address of the entry of `level` for `address` in a table.
    const fn slot(table: HostPhys, address: u64, level: u8) -> HostPhys {
        let index = address >> (12 + 9 * (level as u32 - 1)) & 0x1ff;
        HostPhys(table.0 + 8 * index)
    }

    /// Maps one page. `flags` are permissions and attributes; PRESENT and, but for a small page, LARGE are added.
    ///
    /// # Errors
    /// See [`MapError`].
    pub fn map(&mut self, address: u64, physical: HostPhys, size: PageSize, flags: EntryFlags) -> Result<(), MapError> {
        if !size.divides(address) || !size.divides(physical.0) {
            return Err(MapError::Unaligned);
        }
        if !self.levels.covers(address) || physical.0 & !Entry::ADDRESS != 0 || size.level() == self.levels.count() {
            return Err(MapError::OutOfRange);
        }
        let mut table = self.root;
        for level in (size.level() + 1..=self.levels.count()).rev() {
            table = self.descend(Self::slot(table, address, level), level)?;
        }
        let slot = Self::slot(table, address, size.level());
        if Entry(self.memory.read(slot)).is_present() {
            return Err(MapError::Occupied);
        }
        let large = match size {
            PageSize::Small => EntryFlags::empty(),
            PageSize::Large | PageSize::Huge => EntryFlags::LARGE,
        };
        self.memory
            .write(slot, Entry::new(physical, flags | EntryFlags::PRESENT | large).0);
        Ok(())
    }

    /// The table that an entry points to; a new one if there is none.
    fn descend(&mut self, slot: HostPhys, level: u8) -> Result<HostPhys, MapError> {
        let entry = Entry(self.memory.read(slot));
        if !entry.is_present() {
            let table = self.memory.allocate().ok_or(MapError::OutOfTables)?;
            self.memory.write(slot, Entry::new(table, self.levels.link(level)).0);
            return Ok(table);
        }
        if entry.is_large() {
            Err(MapError::Occupied)
        } else {
            Ok(entry.address())
        }
    }

    /// Maps `length` bytes from `address` to `physical`, in the largest pages up to `largest` that both sides allow.
    ///
    /// # Errors
    /// See [`MapError`]; what was mapped before the error stays. All three numbers must be multiples of 4 KiB.
    pub fn map_range(
        &mut self,
        address: u64,
        physical: HostPhys,
        length: u64,
        largest: PageSize,
        flags: EntryFlags,
    ) -> Result<(), MapError> {
        if !PageSize::Small.divides(length) {
            return Err(MapError::Unaligned);
        }
        let mut done = 0;
        while done < length {
            let from = address.checked_add(done).ok_or(MapError::OutOfRange)?;
            let to = physical.checked_add(done).ok_or(MapError::OutOfRange)?;
            let fits = |size: &PageSize| {
                size.level() <= largest.level()
                    && size.divides(from)
                    && size.divides(to.0)
                    && length - done >= size.bytes()
            };
            let sizes = [PageSize::Huge, PageSize::Large];
            let size = sizes.into_iter().find(fits).unwrap_or(PageSize::Small);
            self.map(from, to, size, flags)?;
            done += size.bytes();
        }
        Ok(())
    }

    /// Makes the entries of a three-level root what they were: present, and no more. They have no accessed bit (bits 8:5
    /// are reserved, 5.2.3), and a nested VMRUN looks (KVM's load_pdptrs); but QEMU's walk sets one (mmu_translate).
    pub fn restore_root(&mut self) {
        if self.levels == Levels::Three {
            for index in 0..4 {
                let slot = HostPhys(self.root.0 + 8 * index);
                let entry = Entry(self.memory.read(slot));
                if entry.is_present() {
                    self.memory
                        .write(slot, Entry::new(entry.address(), self.levels.link(3)).0);
                }
            }
        }
    }

    /// Takes the page that contains `address` out, and returns its entry. The tables stay. The TLB must be flushed before
    /// the guest runs on (SVM-15.16.1-009).
    ///
    /// # Errors
    /// If nothing is mapped there.
    pub fn unmap(&mut self, address: u64) -> Result<Entry, NotMapped> {
        let (slot, entry, _) = self.find(address)?;
        self.memory.write(slot, 0);
        Ok(entry)
    }

    /// Where `address` leads.
    ///
    /// # Errors
    /// If nothing is mapped there.
    pub fn translate(&self, address: u64) -> Result<Translation, NotMapped> {
        let (_, entry, size) = self.find(address)?;
        let offset = address & (size.bytes() - 1);
        Ok(Translation {
            physical: HostPhys(entry.address().0 + offset),
            entry,
            size,
        })
    }

    /// The page's entry: where it is, what it is, its size.
    fn find(&self, address: u64) -> Result<(HostPhys, Entry, PageSize), NotMapped> {
        let top = self.levels.count();
        if !self.levels.covers(address) {
            return Err(NotMapped { level: top });
        }
        let mut table = self.root;
        for level in (1..=top).rev() {
            let slot = Self::slot(table, address, level);
            let entry = Entry(self.memory.read(slot));
            match level {
                _ if !entry.is_present() => return Err(NotMapped { level }),
                1 => return Ok((slot, entry, PageSize::Small)),
                2 if entry.is_large() => return Ok((slot, entry, PageSize::Large)),
                3 if entry.is_large() => return Ok((slot, entry, PageSize::Huge)),
                _ => table = entry.address(),
            }
        }
        unreachable!("level 1 returns")
    }
}

#[cfg(test)]
mod tests;
