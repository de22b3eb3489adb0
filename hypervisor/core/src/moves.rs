//! Guests that move: to the other processor, or with their VMCB into another page, after so many exits.
//!
//! What a processor has kept of a VMCB holds for that processor and that page only, so after either everything in the VMCB
//! counts as changed (APM vol. 2, 15.15.1). And the other processor's TLB may still know what the guest's tables said when
//! it was there the last time.

use core::mem::swap;

use svm::vmcb::Vmcb;

use crate::options::Moves;

/// Where a guest runs, and what is due.
pub struct Place {
    every: Moves,
    exits: u64,
    /// Whether it is to run on the second processor.
    second: bool,
    /// The page in which its VMCB is not.
    spare: &'static mut Vmcb,
}

/// What has changed for the next VMRUN.
#[derive(Clone, Copy, Default)]
pub struct Moved {
    /// It is on the other processor.
    pub processor: bool,
    /// The VMCB is in the other page.
    pub vmcb: bool,
}

impl Place {
    /// A guest begins on the first processor. `spare` is a page for its VMCB.
    pub fn new(every: Moves, spare: &'static mut Vmcb) -> Self {
        Self {
            every,
            exits: 0,
            second: false,
            spare,
        }
    }

    /// Whether it is on the second processor.
    pub fn is_second(&self) -> bool {
        self.second
    }

    /// After an exit.
    pub fn after_exit(&mut self) {
        self.exits += 1;
    }

    /// Before a VMRUN: moves the guest if it is time. `clock` tells that the guest's turn may have to end by an interrupt:
    /// that comes to the first processor only.
    pub fn before_entry(&mut self, vmcb: &mut &'static mut Vmcb, clock: bool) -> Moved {
        let due = |every: u64| every != 0 && self.exits != 0 && self.exits % every == 0;
        let before = self.second;
        self.second = (before ^ due(self.every.processor)) && !clock;
        let moved = Moved {
            processor: self.second != before,
            vmcb: due(self.every.vmcb),
        };
        if moved.vmcb {
            // SAFETY: both are VMCBs, and no two references are to the same.
            unsafe { core::ptr::copy_nonoverlapping(&raw const **vmcb, &raw mut *self.spare, 1) };
            swap(vmcb, &mut self.spare);
        }
        moved
    }
}
