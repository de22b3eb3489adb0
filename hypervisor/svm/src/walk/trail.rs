//! A walk to code, kept with everything that it read: checked the next time rather than made again.
//!
//! A walk is a function of CR3, the linear address and the entries on its way. While all of these are what they were, so
//! is its result, whatever the guest did meanwhile: no flush needs to be seen.

use crate::addr::PAGE_SIZE;

/// Where eight bytes of one page lie, below 4 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word(u32);

impl Word {
    /// Its bytes.
    pub const SIZE: u64 = 8;

    /// `None` from 4 GiB on, and where the bytes would reach into the next page.
    #[must_use]
    pub const fn at(address: u64) -> Option<Self> {
        if address > u32::MAX as u64 || address % PAGE_SIZE > PAGE_SIZE - Self::SIZE {
            return None;
        }
        Some(Self(address as u32))
    }

    /// Its guest-physical address.
    #[must_use]
    pub const fn address(self) -> u64 {
        self.0 as u64
    }
}

/// A guest's memory, as far as its host reaches all of it: below 4 GiB.
pub trait LowMemory {
    /// What is there now.
    fn read(&self, word: Word) -> u64;
}

/// A walk in long mode with four levels.
#[derive(Clone, Copy, Debug)]
pub struct Trail {
    /// The entries and what they were. Where large pages leave levels out, the last again: so there is no loop to end.
    entries: [(Word, u64); Self::LEVELS],
    physical: u64,
}

impl Trail {
    const LEVELS: usize = 4;

    /// Where code that was just executed stands: [`super::walk`] without what the processor has looked at already.
    /// `None` if the tables have changed meanwhile, or lie too high.
    pub fn to_code(cr3: u64, linear: u64, memory: &impl LowMemory) -> Option<Self> {
        const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
        const PRESENT: u64 = 1 << 0;
        const LARGE: u64 = 1 << 7;
        let mut entries = [(Word(0), 0); Self::LEVELS];
        let mut table = cr3 & ADDRESS;
        for level in 0..Self::LEVELS {
            let shift = 39 - 9 * level;
            let at = Word::at(table | (linear >> shift & 0x1ff) << 3)?;
            let entry = memory.read(at);
            if entry & PRESENT == 0 {
                return None;
            }
            entries[level..].fill((at, entry));
            if shift == 12 || (level > 0 && entry & LARGE != 0) {
                let offset = (1 << shift) - 1;
                let physical = entry & ADDRESS & !offset | linear & offset;
                return Some(Self { entries, physical });
            }
            table = entry & ADDRESS;
        }
        None
    }

    /// Where it led to.
    #[must_use]
    pub const fn physical(&self) -> u64 {
        self.physical
    }

    /// Whether the same walk would lead there again.
    #[inline]
    pub fn holds(&self, memory: &impl LowMemory) -> bool {
        self.entries.iter().all(|&(at, value)| memory.read(at) == value)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    struct Tables(HashMap<u64, u64>);

    impl LowMemory for Tables {
        fn read(&self, word: Word) -> u64 {
            self.0.get(&word.address()).copied().unwrap_or(0)
        }
    }

    const LINEAR: u64 = 0xffff_8123_4567_8abc;

    fn slot(table: u64, shift: u32) -> u64 {
        table | (LINEAR >> shift & 0x1ff) << 3
    }

    fn tables() -> Tables {
        Tables(HashMap::from([
            (slot(0x1000, 39), 0x2003),
            (slot(0x2000, 30), 0x3003),
            (slot(0x3000, 21), 0x4003),
            (slot(0x4000, 12), 0x8000_0000_0123_4001),
        ]))
    }

    #[test]
    fn leads_where_the_tables_do() {
        let at = |tables: &Tables| Trail::to_code(0x1018, LINEAR, tables).map(|trail| trail.physical());
        let mut tables = tables();
        assert_eq!(at(&tables), Some(0x0123_4abc));
        tables.0.insert(slot(0x3000, 21), 0x0080_0083);
        assert_eq!(at(&tables), Some(0x0080_0000 | LINEAR & 0x1f_ffff));
        tables.0.insert(slot(0x2000, 30), 0x4000_0083);
        assert_eq!(at(&tables), Some(0x4000_0000 | LINEAR & 0x3fff_ffff));
        tables.0.insert(slot(0x1000, 39), 0x2002);
        assert_eq!(at(&tables), None);
        tables.0.insert(slot(0x1000, 39), 0x1_0000_2003);
        assert_eq!(at(&tables), None, "the next table is above 4 GiB");
    }

    #[test]
    fn holds_until_an_entry_changes() {
        let untouched = tables();
        let trail = Trail::to_code(0x1000, LINEAR, &untouched).expect("all is present");
        assert!(trail.holds(&untouched));
        for changed in untouched.0.keys() {
            let mut tables = tables();
            *tables.0.get_mut(changed).expect("it is there") ^= 1 << 52;
            assert!(!trail.holds(&tables), "{changed:#x}");
        }
    }

    #[test]
    fn words_are_in_one_page_below_4_gib() {
        assert_eq!(Word::at(0xffff_fff8).map(Word::address), Some(0xffff_fff8));
        assert_eq!((Word::at(0x1_0000_0000), Word::at(0x1ff9)), (None, None));
        assert!(Word::at(0x1ff8).is_some());
    }
}
