//! Accesses to CR0, CR3 and CR4, and INVLPG: with shadow paging, where each may change the translation. With nested
//! paging only writes of CR4 come here. Writes of CR8 do while an interrupt waits for the guest.
//!
//! What a write does, and which is illegal, is in `svm::system_registers`.

use svm::insn::{Instruction, Source};
use svm::regs::Cr0;
use svm::system_registers::Illegal;
use svm::vmcb::Attributes;

use super::{GENERAL_PROTECTION, Next};
use crate::defect;
use crate::guest::Guest;
use crate::paging::Paging;

/// MOV from a control register, SMSW to a register.
pub fn read(guest: &mut Guest) -> Next {
    let registers = guest.system_registers();
    match guest.instruction().map(|decoded| decoded.instruction) {
        Some(Instruction::MovFromCr { cr, gpr }) => {
            let read = match cr {
                0 => registers.cr0.bits(),
                // Nobody intercepts it, but QEMU since 10.0 tells of an access as of one to CR0.
                2 => guest.vmcb.save.cr2,
                3 => registers.cr3,
                _ => registers.cr4.bits(),
            };
            let size = guest.mov_cr_size();
            let gpr = told(guest, gpr);
            guest.write_register(gpr, read, size);
        }
        Some(Instruction::Smsw { gpr: Some(gpr), size }) => {
            guest.write_register(gpr, registers.cr0.bits(), size);
        }
        _ => return Next::Unhandled,
    }
    guest.retire()
}

/// MOV to a control register, CLTS, LMSW of a register.
pub fn write(guest: &mut Guest) -> Next {
    let Some(decoded) = guest.instruction() else {
        return Next::Unhandled;
    };
    let before = guest.system_registers();
    let cr0 = before.cr0;
    let (cr, value) = match decoded.instruction {
        Instruction::MovToCr { cr, gpr } => {
            let size = guest.mov_cr_size();
            let gpr = told(guest, gpr);
            (cr, guest.read_register(gpr, size))
        }
        Instruction::Clts => (0, (cr0 - Cr0::TS).bits()),
        Instruction::Lmsw(Source::Register(gpr)) => {
            // The low four bits, but PE is never cleared (APM vol. 3, LMSW).
            const LOADED: u64 = 0xF;
            let kept = cr0.bits() & (!LOADED | Cr0::PE.bits());
            (0, kept | guest.read_register(gpr, 2) & LOADED)
        }
        _ => return Next::Unhandled,
    };
    // Decided before RIP moves: the next RIP depends on the mode that the instruction was fetched in.
    let next = guest.vmcb.save.rip.wrapping_add(decoded.length.into());
    let long_code = guest.vmcb.save.cs.attributes.contains(Attributes::L);
    if cr == 2 {
        guest.vmcb.save.cr2 = value;
        return guest.retire_to(next);
    }
    if cr == 8 {
        return match value {
            0..=15 => {
                guest.vmcb.control.interrupt = guest.vmcb.control.interrupt.with_tpr(value as u8);
                guest.retire_to(next)
            }
            _ => guest.raise(GENERAL_PROTECTION, Some(0)),
        };
    }
    let after = match cr {
        0 => before.write_cr0(value, long_code),
        3 => before.write_cr3(value, &guest.processor),
        _ => before.write_cr4(value, &guest.processor),
    };
    match after {
        Ok(registers) => {
            guest.set_system_registers(registers);
            guest.retire_to(next)
        }
        Err(Illegal) => guest.raise(GENERAL_PROTECTION, Some(0)),
    }
}

/// The general register that was decoded; with a seeded defect the one that EXITINFO1 tells, whether or not the processor
/// tells any (15.8.1).
fn told(guest: &Guest, decoded: u8) -> u8 {
    const IS_MOV: u64 = 1 << 63;
    let told = guest.vmcb.control.exit_info_1;
    if told & IS_MOV != 0 && defect::DECODE_UNCHECKED.is_on() {
        return told as u8 & 0xF;
    }
    decoded
}

/// INVLPG: drops all of our tables, which is more than asked and never wrong.
pub fn invlpg(guest: &mut Guest) -> Next {
    if let Paging::Shadow(shadow) = &mut guest.paging {
        shadow.registers_changed(guest.vcpu.vmcb);
    }
    guest.retire()
}
