//! RDMSR and WRMSR: a few registers exist, for every other one #GP(0).
//!
//! SYSENTER, STAR and its kin, FS.base, GS.base and KernelGSbase do not come here: VMLOAD and VMSAVE move them, so the
//! permission map lets the guest at them (`setup.rs`).

use runtime::cpuid::cpuid;
use runtime::msr::try_rdmsr;
use svm::features::LEAF_EXTENDED_FEATURES;
use svm::msr;
use svm::regs::{Cr0, Efer};

use super::{GENERAL_PROTECTION, Next};
use crate::defect;
use crate::guest::Guest;

/// #GP(0).
struct Refused;

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
        Err(Refused) => guest.raise(GENERAL_PROTECTION, Some(0)),
    }
}

fn read(guest: &Guest, register: u32) -> Result<u64, Refused> {
    match register {
        msr::EFER if defect::EFER_VISIBLE => Ok((guest.efer() | Efer::SVME).bits()),
        msr::EFER => Ok(guest.efer().bits()),
        msr::PAT => Ok(guest.vmcb.save.g_pat),
        msr::DEBUG_CTL => Ok(0),
        msr::VM_CR if defect::VM_CR_READABLE => try_rdmsr(register).map_err(|_| Refused),
        msr::VM_HSAVE_PA if defect::HSAVE_READABLE => try_rdmsr(register).map_err(|_| Refused),
        _ => Err(Refused),
    }
}

fn write(guest: &mut Guest, register: u32, value: u64) -> Result<(), Refused> {
    match register {
        msr::EFER => write_efer(guest, Efer::from_bits_retain(value)),
        msr::PAT if is_legal_pat(value) => {
            guest.vmcb.save.g_pat = value;
            Ok(())
        }
        // No last-branch records, no single-stepping by branches: nothing can be switched on.
        msr::DEBUG_CTL if value == 0 => Ok(()),
        msr::TSC => {
            // SAFETY: RDTSC reads a counter; CR4.TSD does not matter at CPL 0.
            let now = unsafe { core::arch::x86_64::_rdtsc() };
            guest.vmcb.control.tsc_offset = value.wrapping_sub(now);
            Ok(())
        }
        _ => Err(Refused),
    }
}

/// APM vol. 2, 3.1.7: LMA is the processor's, LME cannot change while paging is on; SVME is not the guest's.
fn write_efer(guest: &mut Guest, value: Efer) -> Result<(), Refused> {
    let old = guest.efer();
    let mut allowed = Efer::SCE | Efer::LME | Efer::LMA;
    if has_no_execute() {
        allowed |= Efer::NXE;
    }
    let paging = guest.cr0().contains(Cr0::PG);
    if !allowed.contains(value) || paging && (old ^ value).contains(Efer::LME) {
        return Err(Refused);
    }
    guest.set_efer((value - Efer::LMA) | (old & Efer::LMA));
    Ok(())
}

fn has_no_execute() -> bool {
    const NX: u32 = 1 << 20;
    cpuid(LEAF_EXTENDED_FEATURES, 0).edx & NX != 0
}

/// APM vol. 2, 7.8: each of the eight types is UC, WC, WT, WP, WB or UC-.
fn is_legal_pat(value: u64) -> bool {
    value.to_le_bytes().iter().all(|&kind| matches!(kind, 0 | 1 | 4..=7))
}
