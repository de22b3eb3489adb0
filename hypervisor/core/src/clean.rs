//! VMCB clean bits (APM vol. 2, 15.15): what the processor need not read again, of a guest whose handlers may change
//! anything.

use svm::features::SvmFeatures;
use svm::vmcb::{Cached, CleanBits, Vmcb};

use crate::defect;

/// What a VMCB held when its guest exited the last time. `None` before its first VMRUN, and where the processor has no
/// clean bits.
#[derive(Default)]
pub struct Clean(Option<Cached>);

impl Clean {
    /// To be called right before VMRUN: promises what has not changed, whoever could have changed it.
    pub fn promise(&self, vmcb: &mut Vmcb, features: SvmFeatures) {
        vmcb.control.clean = match &self.0 {
            Some(_) if defect::CLEAN_LIES.is_on() => CleanBits::all(),
            Some(kept) => Cached::of(vmcb).unchanged(kept) | unknown_clean_bits(),
            None if features.contains(SvmFeatures::VMCB_CLEAN) && defect::CLEAN_AT_FIRST.is_on() => {
                CleanBits::DEBUG_REGISTERS
            }
            None => CleanBits::empty(),
        };
    }

    /// To be called right after #VMEXIT.
    pub fn keep(&mut self, vmcb: &Vmcb, features: SvmFeatures) {
        if features.contains(SvmFeatures::VMCB_CLEAN) {
            self.0 = Some(Cached::of(vmcb));
        }
    }

    /// VMRUN refused the VMCB: nobody knows what the processor has kept. Or the guest has moved: it has kept nothing.
    pub fn forget(&mut self) {
        self.0 = None;
    }
}

/// None, but for a seeded defect.
pub fn unknown_clean_bits() -> CleanBits {
    CleanBits::from_bits_retain(if defect::CLEAN_UNKNOWN.is_on() { 1 << 31 } else { 0 })
}
