//! Accesses to CR0, CR3 and CR4, and INVLPG: with shadow paging only, where each may change the translation.
//!
//! APM vol. 2, 3.1 "System-control registers", 14.6 "Enabling and activating long mode".

use svm::exit::ExitCode;
use svm::insn::{Instruction, Source};
use svm::regs::{Cr0, Cr4, Efer};

use super::{GENERAL_PROTECTION, Next};
use crate::guest::Guest;
use crate::paging::Paging;
use crate::paging::shadow::GuestRegisters;

/// #GP(0).
struct Refused;

/// MOV from a control register, SMSW to a register.
pub fn read(guest: &mut Guest) -> Next {
    let value = |guest: &Guest, cr| match cr {
        0 => guest.cr0().bits(),
        3 => guest.cr3(),
        _ => guest.cr4().bits(),
    };
    match guest.instruction().map(|decoded| decoded.instruction) {
        Some(Instruction::MovFromCr { cr, gpr }) => {
            let read = value(guest, cr);
            guest.write_register(gpr, read, guest.mov_cr_size());
        }
        Some(Instruction::Smsw { gpr: Some(gpr), size }) => {
            let read = value(guest, 0);
            guest.write_register(gpr, read, size);
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
    let cr0 = guest.cr0();
    let (cr, value) = match decoded.instruction {
        Instruction::MovToCr { cr, gpr } => (cr, guest.read_register(gpr, guest.mov_cr_size())),
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
    let long_code = guest.vmcb.save.cs.attributes.contains(svm::vmcb::Attributes::L);
    let Paging::Shadow(shadow) = &mut guest.paging else {
        return Next::Unhandled;
    };
    let before = shadow.guest;
    match after(before, cr, value, long_code) {
        Ok(registers) => {
            shadow.guest = registers;
            shadow.registers_changed(guest.vmcb);
            guest.retire_to(next)
        }
        Err(Refused) => guest.raise(GENERAL_PROTECTION, Some(0)),
    }
}

/// INVLPG: drops all of our tables, which is more than asked and never wrong.
pub fn invlpg(guest: &mut Guest) -> Next {
    if let Paging::Shadow(shadow) = &mut guest.paging {
        shadow.registers_changed(guest.vmcb);
    }
    guest.retire()
}

/// The guest's registers after a write, if it is legal.
fn after(registers: GuestRegisters, cr: u8, value: u64, long_code: bool) -> Result<GuestRegisters, Refused> {
    match ExitCode(u64::from(cr)) {
        ExitCode::CR0_READ => with_cr0(registers, value, long_code),
        ExitCode::CR3_READ => Ok(GuestRegisters {
            cr3: value,
            ..registers
        }),
        ExitCode::CR4_READ => with_cr4(registers, value),
        _ => Err(Refused),
    }
}

fn with_cr0(mut registers: GuestRegisters, value: u64, long_code: bool) -> Result<GuestRegisters, Refused> {
    if value >> 32 != 0 {
        return Err(Refused);
    }
    let cr0 = Cr0::from_bits_truncate(value) | Cr0::ET;
    let (paging, protected) = (cr0.contains(Cr0::PG), cr0.contains(Cr0::PE));
    if paging && !protected || cr0.contains(Cr0::NW) && !cr0.contains(Cr0::CD) {
        return Err(Refused);
    }
    let long = registers.efer.contains(Efer::LME);
    let switched_on = paging && !registers.cr0.contains(Cr0::PG);
    if switched_on && long && (!registers.cr4.contains(Cr4::PAE) || long_code) || !paging && long && long_code {
        return Err(Refused);
    }
    registers.efer.set(Efer::LMA, paging && long);
    registers.cr0 = cr0;
    Ok(registers)
}

fn with_cr4(mut registers: GuestRegisters, value: u64) -> Result<GuestRegisters, Refused> {
    // Hidden in CPUID, or not known to our tables: reserved.
    let unknown = Cr4::PCIDE | Cr4::LA57 | Cr4::OSXSAVE | Cr4::PKE | Cr4::CET;
    let known = Cr4::VME
        | Cr4::PVI
        | Cr4::TSD
        | Cr4::DE
        | Cr4::PSE
        | Cr4::PAE
        | Cr4::MCE
        | Cr4::PGE
        | Cr4::PCE
        | Cr4::OSFXSR
        | Cr4::OSXMMEXCPT
        | Cr4::UMIP
        | Cr4::FSGSBASE
        | Cr4::SMEP
        | Cr4::SMAP;
    let cr4 = Cr4::from_bits_retain(value);
    let leaves_long_mode = registers.efer.contains(Efer::LMA) && !cr4.contains(Cr4::PAE);
    if cr4.intersects(unknown) || value & !known.bits() != 0 || leaves_long_mode {
        return Err(Refused);
    }
    registers.cr4 = cr4;
    Ok(registers)
}
