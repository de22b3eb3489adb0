//! Breakpoints: a write to a port of ours, in the machine's memory. Nobody else sees it there.
//!
//! INT3 would do on a real processor. Below KVM is TCG, which delivers it to the guest although KVM intercepts #BP (it
//! looks at the intercept of INTn instead). An OUT always comes back to us. It takes two bytes where INT3 takes one; no
//! instruction that the harness stops at is shorter.

use std::collections::BTreeMap;

use crate::memory::Memory;

/// The port that only our breakpoints write to.
pub const PORT: u16 = 0xE3;

/// OUT E3h, AL.
const TRAP: [u8; LENGTH as usize] = [0xE6, PORT as u8];

/// Bytes that a breakpoint takes.
pub const LENGTH: u64 = 2;

/// Who set a breakpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    Debugger,
    /// Ourselves, for the length of one step.
    Step,
}

#[derive(Default)]
struct Point {
    original: Vec<u8>,
    debugger: bool,
    step: bool,
}

impl Point {
    fn flag(&mut self, owner: Owner) -> &mut bool {
        match owner {
            Owner::Debugger => &mut self.debugger,
            Owner::Step => &mut self.step,
        }
    }
}

/// Breakpoints by physical address.
#[derive(Default)]
pub struct Points(BTreeMap<u64, Point>);

impl Points {
    /// False where there is no memory, or half of another breakpoint.
    pub fn set(&mut self, memory: &mut Memory, address: u64, owner: Owner) -> bool {
        if let Some(point) = self.0.get_mut(&address) {
            *point.flag(owner) = true;
            return true;
        }
        let original = memory.read(address, TRAP.len());
        if self.touching(address, LENGTH).next().is_some() || original.len() < TRAP.len() {
            return false;
        }
        let mut point = Point {
            original,
            ..Point::default()
        };
        *point.flag(owner) = true;
        self.0.insert(address, point);
        memory.write(address, &TRAP)
    }

    /// False when there is none.
    pub fn clear(&mut self, memory: &mut Memory, address: u64, owner: Owner) -> bool {
        let Some(point) = self.0.get_mut(&address) else {
            return false;
        };
        let had = std::mem::take(point.flag(owner));
        if !point.debugger && !point.step {
            memory.write(address, &point.original);
            self.0.remove(&address);
        }
        had
    }

    /// Ends all that were set for a step.
    pub fn clear_step(&mut self, memory: &mut Memory) {
        let addresses: Vec<u64> = self
            .0
            .iter()
            .filter(|(_, point)| point.step)
            .map(|(&address, _)| address)
            .collect();
        for address in addresses {
            self.clear(memory, address, Owner::Step);
        }
    }

    /// Whether there is one at this address, set by anybody.
    pub fn at(&self, address: u64) -> bool {
        self.0.contains_key(&address)
    }

    /// Whether the debugger set one at this address.
    pub fn of_debugger(&self, address: u64) -> bool {
        self.0.get(&address).is_some_and(|point| point.debugger)
    }

    /// Whether any of these bytes is one of ours.
    pub fn within(&self, address: u64, length: u64) -> bool {
        self.touching(address, length).next().is_some()
    }

    /// Puts the original bytes back, or ours again, without forgetting the breakpoint.
    pub fn lift(&self, memory: &mut Memory, address: u64, lifted: bool) {
        if let Some(point) = self.0.get(&address) {
            memory.write(address, if lifted { &point.original } else { &TRAP });
        }
    }

    /// Puts into bytes that were read from memory what stands there without us.
    pub fn hide(&self, address: u64, bytes: &mut [u8]) {
        for (at, point) in self.touching(address, bytes.len() as u64) {
            for (place, original) in (*at..).zip(&point.original) {
                if let Some(byte) = place
                    .checked_sub(address)
                    .and_then(|offset| bytes.get_mut(offset as usize))
                {
                    *byte = *original;
                }
            }
        }
    }

    fn touching(&self, address: u64, length: u64) -> impl Iterator<Item = (&u64, &Point)> {
        self.0
            .range(address.saturating_sub(LENGTH - 1)..address.saturating_add(length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> Memory {
        let mut memory = Memory::new(0x1000).expect("a page");
        assert!(memory.write(0x10, &[1, 2, 3, 4]));
        memory
    }

    #[test]
    fn a_point_is_in_memory_and_hidden() {
        let (mut memory, mut points) = (memory(), Points::default());
        assert!(points.set(&mut memory, 0x11, Owner::Debugger));
        assert_eq!(memory.read(0x10, 4), [1, TRAP[0], TRAP[1], 4]);
        for (start, length) in [(0x10, 4), (0x12, 2), (0x10, 2)] {
            let mut bytes = memory.read(start, length);
            points.hide(start, &mut bytes);
            let first = (start - 0x10) as usize;
            assert_eq!(bytes, [1, 2, 3, 4][first..first + length]);
        }
        assert!(points.clear(&mut memory, 0x11, Owner::Debugger));
        assert_eq!(memory.read(0x10, 4), [1, 2, 3, 4]);
        assert!(!points.clear(&mut memory, 0x11, Owner::Debugger));
    }

    #[test]
    fn a_point_with_two_owners_stays_until_both_are_done() {
        let (mut memory, mut points) = (memory(), Points::default());
        points.set(&mut memory, 0x10, Owner::Step);
        points.set(&mut memory, 0x10, Owner::Debugger);
        points.clear_step(&mut memory);
        assert!(points.of_debugger(0x10));
        assert_eq!(memory.read(0x10, 2), TRAP);
        points.clear(&mut memory, 0x10, Owner::Debugger);
        assert!(!points.at(0x10));
        assert_eq!(memory.read(0x10, 2), [1, 2]);
    }

    #[test]
    fn a_lifted_point_comes_back() {
        let (mut memory, mut points) = (memory(), Points::default());
        points.set(&mut memory, 0x12, Owner::Debugger);
        points.lift(&mut memory, 0x12, true);
        assert_eq!(memory.read(0x12, 2), [3, 4]);
        points.lift(&mut memory, 0x12, false);
        assert_eq!(memory.read(0x12, 2), TRAP);
    }

    #[test]
    fn there_is_none_outside_memory_or_over_another() {
        let (mut memory, mut points) = (memory(), Points::default());
        assert!(!points.set(&mut memory, 0x0FFF, Owner::Debugger));
        assert!(points.set(&mut memory, 0x11, Owner::Debugger));
        assert!(!points.set(&mut memory, 0x10, Owner::Debugger));
        assert!(!points.set(&mut memory, 0x12, Owner::Debugger));
        assert!(points.set(&mut memory, 0x13, Owner::Debugger));
        assert!(points.within(0x12, 1));
        assert!(!points.within(0x15, 8));
    }
}
