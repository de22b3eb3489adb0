//! What instructions were that exited before, by where they stand.
//!
//! Nothing tells the hypervisor when a guest changes its code or its page tables, and nothing needs to: kept with an
//! answer is everything that was read to find it (CR3, RIP, each page-table entry on the way, the instruction's bytes),
//! and an answer counts only while all of that is what it was.

use svm::addr::PAGE_SIZE;
use svm::walk::{LowMemory, Trail, Word};

/// The longest instruction (APM vol. 3, 1.1).
pub const LONGEST: usize = 15;

struct Known<T, const W: usize> {
    rip: u64,
    cr3: u64,
    trail: Trail,
    code: [(Word, u64); W],
    what: T,
}

/// The words from `physical` on, and what they are now; `None` where they cross into another page.
fn code<const W: usize>(physical: u64, memory: &impl LowMemory) -> Option<[(Word, u64); W]> {
    if physical % PAGE_SIZE + Word::SIZE * W as u64 > PAGE_SIZE {
        return None;
    }
    let mut code = [(Word::at(physical)?, 0); W];
    for (index, (word, bytes)) in code.iter_mut().enumerate() {
        *word = Word::at(physical + Word::SIZE * index as u64)?;
        *bytes = memory.read(*word);
    }
    Some(code)
}

/// For `N` places in 64-bit code under four levels of page tables, which is where operating systems spend their lives.
/// Instructions are remembered that `W` words of eight bytes are enough for.
pub struct Remembered<T, const N: usize, const W: usize> {
    known: [Option<Known<T, W>>; N],
}

impl<T, const N: usize, const W: usize> Default for Remembered<T, N, W> {
    fn default() -> Self {
        Self {
            known: [const { None }; N],
        }
    }
}

impl<T: Copy, const N: usize, const W: usize> Remembered<T, N, W> {
    const fn place(rip: u64) -> usize {
        rip as usize % N
    }

    /// What the instruction at `rip` is, if that was asked before and everything is as it was.
    #[inline]
    pub fn recall(&self, cr3: u64, rip: u64, memory: &impl LowMemory) -> Option<T> {
        let known = self.known[Self::place(rip)].as_ref()?;
        let holds = |&(word, bytes): &(Word, u64)| memory.read(word) == bytes;
        (known.rip == rip && known.cr3 == cr3 && known.trail.holds(memory) && known.code.iter().all(holds))
            .then_some(known.what)
    }

    /// The same, found out by `decode` where need be, which gets the `W` words' bytes, at most as many as the longest
    /// instruction has. `None` where it does not know them, where they cross into another page, or where the guest's memory
    /// is out of reach.
    pub fn learn(
        &mut self,
        cr3: u64,
        rip: u64,
        memory: &impl LowMemory,
        decode: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Option<T> {
        let trail = Trail::to_code(cr3, rip, memory)?;
        let code = code(trail.physical(), memory)?;
        let slot = &mut self.known[Self::place(rip)];
        let what = match slot {
            // An operating system's own code, in the address space of another program.
            Some(known) if known.rip == rip && same_bytes(&known.code, &code) => known.what,
            _ => {
                let mut bytes = [[0; Word::SIZE as usize]; W];
                for (eight, (_, read)) in bytes.iter_mut().zip(code) {
                    *eight = read.to_le_bytes();
                }
                let bytes = bytes.as_flattened();
                decode(&bytes[..bytes.len().min(LONGEST)])?
            }
        };
        *slot = Some(Known {
            rip,
            cr3,
            trail,
            code,
            what,
        });
        Some(what)
    }
}

fn same_bytes<const W: usize>(one: &[(Word, u64); W], other: &[(Word, u64); W]) -> bool {
    one.iter().zip(other).all(|((_, one), (_, other))| one == other)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// One table at each level, then a page of code at 5000h and another at 6000h.
    struct Memory(RefCell<Vec<u8>>);

    const CR3: u64 = 0x1000;
    const RIP: u64 = 0x100;
    const LEAF: u64 = 0x4000;

    impl Memory {
        fn new() -> Self {
            let memory = Self(RefCell::new(vec![0; 0x8000]));
            for (table, entry) in [(0x1000, 0x2003), (0x2000, 0x3003), (0x3000, 0x4003), (LEAF, 0x5003)] {
                memory.write(table, &u64::to_le_bytes(entry));
            }
            memory.write(0x5100, &[0x0f, 0xa2]);
            memory.write(0x6100, &[0x66, 0x0f, 0xa2]);
            memory
        }

        fn write(&self, address: u64, bytes: &[u8]) {
            let at = address as usize;
            self.0.borrow_mut()[at..at + bytes.len()].copy_from_slice(bytes);
        }
    }

    impl LowMemory for Memory {
        fn read(&self, word: Word) -> u64 {
            let at = word.address() as usize;
            u64::from_le_bytes(self.0.borrow()[at..at + 8].try_into().expect("eight bytes"))
        }
    }

    fn length(bytes: &[u8]) -> Option<u8> {
        svm::insn::decode(bytes, svm::insn::CodeSize::Bits64).map(|decoded| decoded.length)
    }

    #[test]
    fn what_was_learnt_is_recalled() {
        let (memory, mut known) = (Memory::new(), Remembered::<u8, 4, 2>::default());
        assert_eq!(known.recall(CR3, RIP, &memory), None);
        assert_eq!(known.learn(CR3, RIP, &memory, length), Some(2));
        assert_eq!(known.recall(CR3, RIP, &memory), Some(2));
        assert_eq!(known.recall(CR3 + 0x1000, RIP, &memory), None);
        assert_eq!(known.recall(CR3, RIP + 1, &memory), None);
    }

    #[test]
    fn code_that_changes_itself_is_decoded_again() {
        let (memory, mut known) = (Memory::new(), Remembered::<u8, 4, 2>::default());
        known.learn(CR3, RIP, &memory, length);
        memory.write(0x5100, &[0xf3, 0x0f, 0xa2]);
        assert_eq!(known.recall(CR3, RIP, &memory), None);
        assert_eq!(known.learn(CR3, RIP, &memory, length), Some(3));
        assert_eq!(known.recall(CR3, RIP, &memory), Some(3));
    }

    #[test]
    fn another_page_in_its_place_is_another_instruction() {
        let (memory, mut known) = (Memory::new(), Remembered::<u8, 4, 2>::default());
        known.learn(CR3, RIP, &memory, length);
        memory.write(LEAF, &0x6003_u64.to_le_bytes());
        assert_eq!(
            known.recall(CR3, RIP, &memory),
            None,
            "the old page's bytes are what they were"
        );
        assert_eq!(known.learn(CR3, RIP, &memory, length), Some(3));
    }

    #[test]
    fn the_same_code_in_another_address_space_is_not_decoded_again() {
        let (memory, mut known) = (Memory::new(), Remembered::<u8, 4, 2>::default());
        known.learn(CR3, RIP, &memory, length);
        memory.write(0x7000, &0x2003_u64.to_le_bytes());
        assert_eq!(known.learn(0x7000, RIP, &memory, |_| unreachable!()), Some(2));
        assert_eq!(known.recall(0x7000, RIP, &memory), Some(2));
    }

    #[test]
    fn what_crosses_a_page_or_is_unknown_is_not_learnt() {
        let (memory, mut known) = (Memory::new(), Remembered::<u8, 4, 2>::default());
        for last in 0xff1..0x1000 {
            assert_eq!(known.learn(CR3, last, &memory, |_| Some(1)), None, "{last:#x}");
        }
        assert_eq!(known.learn(CR3, 0xff0, &memory, |_| Some(1)), Some(1));
        assert_eq!(known.learn(CR3, 0x200, &memory, length), None);
        assert_eq!(known.recall(CR3, 0x200, &memory), None);
        let mut short = Remembered::<u8, 4, 1>::default();
        memory.write(0x5300, &[0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x0f, 0xa2]);
        assert_eq!(
            short.learn(CR3, 0x300, &memory, length),
            None,
            "nine bytes are more than one word"
        );
        assert_eq!(short.learn(CR3, 0x301, &memory, length), Some(8));
    }
}
