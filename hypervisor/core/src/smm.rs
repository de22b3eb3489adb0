//! Seeded defects in the registers of SMM, none of which the hypervisor touches otherwise.

use runtime::msr::{try_rdmsr, try_wrmsr};
use svm::msr::{HWCR, SMM_CTL, SMM_KEY, SMM_MASK, SmmCtl};

use crate::defect;

/// Makes the mistake that is built in, if it is one of these.
pub fn misuse() {
    if defect::SMM_LOCK_UNREAD.is_on() {
        write(SMM_MASK, try_rdmsr(SMM_MASK).unwrap_or_default());
    }
    if defect::SMM_CTL_UNDEFINED.is_on() {
        const SMM_LOCK: u64 = 1;
        if try_rdmsr(HWCR).is_ok_and(|value| value & SMM_LOCK == 0) {
            write(SMM_CTL, (SmmCtl::ENTER | SmmCtl::EXIT).bits());
        }
    }
    if defect::SMM_KEY_TRUSTED.is_on() {
        write(SMM_KEY, 0x1234_5678);
    }
}

fn write(register: u32, value: u64) {
    // SAFETY: a register that is not there faults, which comes back as a value; where they are, firmware has locked them.
    let _ = unsafe { try_wrmsr(register, value) };
}
