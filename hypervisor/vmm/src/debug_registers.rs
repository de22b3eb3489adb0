//! Breakpoints in the processor's four debug registers: they change nothing in memory. Under an emulator that does not
//! honour them for guests (QEMU 7.2) there are none to be had.

use crate::points::Owner;

/// DR7: the bit that reads as 1. Enabled with length and kind 0, a register stands for the execution of one byte.
const DR7_FIXED: u64 = 0x400;

/// Linear addresses, and who put each there.
#[derive(Default)]
pub struct DebugRegisters {
    usable: bool,
    places: [Option<(u64, Owner)>; 4],
}

impl DebugRegisters {
    pub fn new(usable: bool) -> Self {
        Self {
            usable,
            ..Self::default()
        }
    }

    /// False when none is free.
    pub fn set(&mut self, address: u64, owner: Owner) -> bool {
        if self.places.contains(&Some((address, owner))) {
            return true;
        }
        let free = self.places.iter_mut().find(|place| self.usable && place.is_none());
        free.map(|place| *place = Some((address, owner))).is_some()
    }

    /// False when there is none.
    pub fn clear(&mut self, address: u64, owner: Owner) -> bool {
        let set = self.places.iter_mut().find(|place| **place == Some((address, owner)));
        set.map(|place| *place = None).is_some()
    }

    /// Ends all that were set for a step.
    pub fn clear_step(&mut self) {
        for place in &mut self.places {
            *place = place.filter(|(_, owner)| *owner != Owner::Step);
        }
    }

    /// Whether the debugger set one at this address.
    pub fn of_debugger(&self, address: u64) -> bool {
        self.places.contains(&Some((address, Owner::Debugger)))
    }

    /// DR0 to DR7 without those at `skip`; `None` when no other is set.
    pub fn values(&self, skip: Option<u64>) -> Option<[u64; 8]> {
        let mut values = [0; 8];
        for (number, place) in self.places.iter().enumerate() {
            if let Some((address, _)) = place.filter(|(address, _)| Some(*address) != skip) {
                values[number] = address;
                values[7] |= DR7_FIXED | 1 << (2 * number);
            }
        }
        (values[7] != 0).then_some(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_four() {
        let mut registers = DebugRegisters::new(true);
        assert!((1..=4).all(|address| registers.set(address, Owner::Debugger)));
        assert!(!registers.set(5, Owner::Debugger));
        assert!(registers.set(4, Owner::Debugger));
        assert!(registers.clear(2, Owner::Debugger));
        assert!(!registers.clear(2, Owner::Debugger));
        assert!(registers.set(5, Owner::Step));
        assert!(!registers.of_debugger(5));
        registers.clear_step();
        assert_eq!(
            registers.values(Some(3)),
            Some([1, 0, 0, 4, 0, 0, 0, 0x400 | 0b100_0001])
        );
    }

    #[test]
    fn where_they_do_not_work_there_are_none() {
        let mut registers = DebugRegisters::new(false);
        assert!(!registers.set(1, Owner::Debugger));
        assert_eq!(registers.values(None), None);
    }
}
