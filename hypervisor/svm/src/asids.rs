//! Which guest has which address-space identifier (15.16).
//!
//! A guest keeps its identifier as long as there is another for whoever comes. When all are given away everybody gets a
//! new one at the next turn. A guest that got an identifier must flush what the TLB knows of it: somebody else may have
//! had it.

use crate::addr::Asid;

/// The identifiers of one processor.
#[derive(Clone, Copy, Debug)]
pub struct Asids {
    count: u32,
    next: u32,
    generation: u64,
}

/// What a guest holds; nothing at first.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    asid: Asid,
    generation: u64,
}

impl Held {
    /// Nothing.
    pub const NONE: Self = Self {
        asid: Asid::HOST,
        generation: 0,
    };
}

impl Asids {
    /// For a processor with so many identifiers, the host's included (SVM-15.5.1-037): 2 at least.
    #[must_use]
    pub const fn new(count: u32) -> Self {
        Self {
            count,
            next: 1,
            generation: 1,
        }
    }

    /// The identifier that a guest runs with now, and whether the TLB may know others' translations under it.
    pub fn give(&mut self, held: &mut Held) -> (Asid, bool) {
        if held.generation == self.generation {
            return (held.asid, false);
        }
        if !Asid(self.next).is_guest(self.count) {
            self.generation += 1;
            self.next = 1;
        }
        *held = Held {
            asid: Asid(self.next),
            generation: self.generation,
        };
        self.next += 1;
        (held.asid, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_keeps_its_own_while_there_are_enough() {
        let mut asids = Asids::new(3);
        let (mut a, mut b) = (Held::NONE, Held::NONE);
        assert_eq!(asids.give(&mut a), (Asid(1), true));
        assert_eq!(asids.give(&mut b), (Asid(2), true));
        for _ in 0..3 {
            assert_eq!(asids.give(&mut a), (Asid(1), false));
            assert_eq!(asids.give(&mut b), (Asid(2), false));
        }
    }

    #[test]
    fn one_for_two_is_flushed_at_each_turn() {
        let mut asids = Asids::new(2);
        let (mut a, mut b) = (Held::NONE, Held::NONE);
        for _ in 0..3 {
            assert_eq!(asids.give(&mut a), (Asid(1), true));
            assert_eq!(asids.give(&mut a), (Asid(1), false));
            assert_eq!(asids.give(&mut b), (Asid(1), true));
        }
    }

    #[test]
    fn whoever_gets_one_that_another_had_flushes_it() {
        let mut asids = Asids::new(4);
        let mut held = [Held::NONE; 5];
        let mut owner = [usize::MAX; 4];
        for turn in 0..200_usize {
            let guest = turn * turn % 5;
            let (asid, flush) = asids.give(&mut held[guest]);
            assert!(asid.is_guest(4));
            assert!(flush || owner[asid.0 as usize] == guest, "turn {turn}");
            owner[asid.0 as usize] = guest;
        }
    }
}
