//! RDMSR and WRMSR: a few registers exist, for every other one #GP(0).
//!
//! SYSENTER, STAR and its kin, FS.base, GS.base and KernelGSbase do not come here: VMLOAD and VMSAVE move them, so the
//! permission map lets the guest at them (`setup.rs`).

use runtime::msr::try_rdmsr;
use svm::msr;
use svm::regs::Efer;
use svm::system_registers::Illegal;

use super::{GENERAL_PROTECTION, Next};
use crate::defect;
use crate::guest::Guest;

/// Answers RDMSR and WRMSR.
pub fn handle(guest: &mut Guest) -> Next {
    const WRITE: u64 = 1;
    let register = guest.registers.rcx as u32;
    let done = if guest.vmcb.control.exit_info_1 == WRITE {
        let value = guest.registers.rdx << 32 | guest.rax() & 0xFFFF_FFFF;
        write(guest, register, value)
    } else {
        read(guest, register).map(|value| {
            guest.set_rax(value & 0xFFFF_FFFF);
            guest.registers.rdx = value >> 32;
        })
    };
    match done {
        Ok(()) => guest.retire(),
        Err(Illegal) => guest.raise(GENERAL_PROTECTION, Some(0)),
    }
}

fn read(guest: &Guest, register: u32) -> Result<u64, Illegal> {
    match register {
        msr::EFER => {
            let efer = guest.system_registers().efer;
            let shown = if defect::EFER_VISIBLE.is_on() {
                efer | Efer::SVME
            } else {
                efer
            };
            Ok(shown.bits())
        }
        msr::PAT => Ok(guest.vmcb.save.g_pat),
        msr::TSC => Ok(time_stamp().wrapping_add(guest.vmcb.control.tsc_offset)),
        msr::DEBUG_CTL => Ok(0),
        msr::VM_CR if defect::VM_CR_READABLE.is_on() => try_rdmsr(register).map_err(|_| Illegal),
        msr::VM_HSAVE_PA if defect::HSAVE_READABLE.is_on() => try_rdmsr(register).map_err(|_| Illegal),
        _ => Err(Illegal),
    }
}

fn write(guest: &mut Guest, register: u32, value: u64) -> Result<(), Illegal> {
    match register {
        msr::EFER => {
            let after = guest.system_registers().write_efer(value, &guest.processor)?;
            guest.set_system_registers(after);
            Ok(())
        }
        msr::PAT if is_legal_pat(value) => {
            guest.vmcb.save.g_pat = value;
            Ok(())
        }
        // No last-branch records, no single-stepping by branches: nothing can be switched on.
        msr::DEBUG_CTL if value == 0 => Ok(()),
        msr::TSC => {
            guest.vmcb.control.tsc_offset = value.wrapping_sub(time_stamp());
            Ok(())
        }
        _ => Err(Illegal),
    }
}

/// The host's time-stamp counter.
fn time_stamp() -> u64 {
    // SAFETY: RDTSC reads a counter; CR4.TSD does not matter at CPL 0.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// APM vol. 2, 7.8: each of the eight types is UC, WC, WT, WP, WB or UC-.
fn is_legal_pat(value: u64) -> bool {
    value.to_le_bytes().iter().all(|&kind| matches!(kind, 0 | 1 | 4..=7))
}
