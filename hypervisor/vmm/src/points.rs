//! Breakpoints: INT3 in the machine's memory. Nobody else sees them there.

use std::collections::BTreeMap;

use crate::memory::Memory;

const INT3: u8 = 0xCC;

/// Who set a breakpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    Debugger,
    /// Ourselves, for the length of one step.
    Step,
}

#[derive(Default)]
struct Point {
    original: u8,
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
    /// False where there is no memory.
    pub fn set(&mut self, memory: &mut Memory, address: u64, owner: Owner) -> bool {
        if let Some(point) = self.0.get_mut(&address) {
            *point.flag(owner) = true;
            return true;
        }
        let Some(&original) = memory.read(address, 1).first() else {
            return false;
        };
        let mut point = Point {
            original,
            ..Point::default()
        };
        *point.flag(owner) = true;
        self.0.insert(address, point);
        memory.write(address, &[INT3])
    }

    /// False when there is none.
    pub fn clear(&mut self, memory: &mut Memory, address: u64, owner: Owner) -> bool {
        let Some(point) = self.0.get_mut(&address) else {
            return false;
        };
        let had = std::mem::take(point.flag(owner));
        if !point.debugger && !point.step {
            memory.write(address, &[point.original]);
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

    /// Puts the original byte back, or the INT3 again, without forgetting the breakpoint.
    pub fn lift(&self, memory: &mut Memory, address: u64, lifted: bool) {
        if let Some(point) = self.0.get(&address) {
            memory.write(address, &[if lifted { point.original } else { INT3 }]);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts into bytes that were read from memory what stands there without us.
    pub fn hide(&self, address: u64, bytes: &mut [u8]) {
        for (at, point) in self.0.range(address..address + bytes.len() as u64) {
            bytes[(at - address) as usize] = point.original;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> Memory {
        let mut memory = Memory::new(0x1000).expect("a page");
        assert!(memory.write(0x10, &[1, 2, 3]));
        memory
    }

    #[test]
    fn a_point_is_in_memory_and_hidden() {
        let (mut memory, mut points) = (memory(), Points::default());
        assert!(points.set(&mut memory, 0x11, Owner::Debugger));
        let mut bytes = memory.read(0x10, 3);
        assert_eq!(bytes, [1, INT3, 3]);
        points.hide(0x10, &mut bytes);
        assert_eq!(bytes, [1, 2, 3]);
        assert!(points.clear(&mut memory, 0x11, Owner::Debugger));
        assert_eq!(memory.read(0x10, 3), [1, 2, 3]);
        assert!(!points.clear(&mut memory, 0x11, Owner::Debugger));
    }

    #[test]
    fn a_point_with_two_owners_stays_until_both_are_done() {
        let (mut memory, mut points) = (memory(), Points::default());
        points.set(&mut memory, 0x10, Owner::Step);
        points.set(&mut memory, 0x10, Owner::Debugger);
        points.clear_step(&mut memory);
        assert!(points.of_debugger(0x10));
        assert_eq!(memory.read(0x10, 1), [INT3]);
        points.clear(&mut memory, 0x10, Owner::Debugger);
        assert!(points.is_empty());
        assert_eq!(memory.read(0x10, 1), [1]);
    }

    #[test]
    fn a_lifted_point_comes_back() {
        let (mut memory, mut points) = (memory(), Points::default());
        points.set(&mut memory, 0x12, Owner::Debugger);
        points.lift(&mut memory, 0x12, true);
        assert_eq!(memory.read(0x12, 1), [3]);
        points.lift(&mut memory, 0x12, false);
        assert_eq!(memory.read(0x12, 1), [INT3]);
    }

    #[test]
    fn there_is_none_outside_memory() {
        let (mut memory, mut points) = (memory(), Points::default());
        assert!(!points.set(&mut memory, 0x1000, Owner::Debugger));
        assert!(points.is_empty());
    }
}
