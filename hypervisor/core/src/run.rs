//! The run loop: VMRUN, #VMEXIT, a handler, and again.

use runtime::{Outcome, Record, log};
use svm::exit::ExitCode;

use crate::exits::{
    End, INVALID_OPCODE, Next, control_register, cpuid, exception, hypercall, io, msr, svm_instruction,
};
use crate::guest::Guest;
use crate::{defect, enable, memory, refused};

/// Runs the guest to its end.
pub fn run(guest: &mut Guest) -> Outcome {
    let mut exits = 0;
    loop {
        if let Err(fault) = guest.enter() {
            return refused::by_fault(guest, fault);
        }
        exits += 1;
        memory::disturb_host_save_area(exits);
        if defect::HSAVE_LATE && exits == 1 && enable::vm_hsave_pa(memory::host_save_area()).is_err() {
            return Outcome::VmHsavePa;
        }
        if guest.vmcb.control.exit_code.is_invalid() {
            return refused::by_invalid(guest);
        }
        match dispatch(guest) {
            Next::Resume => guest.resume_delivery(),
            Next::Unhandled => return unhandled(guest),
            Next::End(end) => return ended(guest, end),
        }
    }
}

fn dispatch(guest: &mut Guest) -> Next {
    match guest.vmcb.control.exit_code {
        ExitCode::VMMCALL => hypercall::handle(guest),
        ExitCode::CPUID => cpuid::handle(guest),
        ExitCode::MSR => msr::handle(guest),
        ExitCode::IOIO => io::handle(guest),
        ExitCode::HLT => Next::HALTED,
        ExitCode::SHUTDOWN => Next::SHUTDOWN,
        ExitCode::NPF => Next::End(End::MemoryViolation),
        ExitCode::EXCP_GP => exception::general_protection(guest),
        ExitCode::EXCP_PF => exception::page_fault(guest),
        ExitCode::VMRUN
        | ExitCode::VMLOAD
        | ExitCode::VMSAVE
        | ExitCode::STGI
        | ExitCode::CLGI
        | ExitCode::SKINIT
        | ExitCode::INVLPGA => svm_instruction::handle(guest),
        // Not offered by CPUID, so they do not exist.
        ExitCode::MONITOR | ExitCode::MWAIT | ExitCode::MWAIT_CONDITIONAL | ExitCode::XSETBV | ExitCode::RDPRU => {
            guest.raise(INVALID_OPCODE, None)
        }
        ExitCode::CR0_READ | ExitCode::CR3_READ | ExitCode::CR4_READ => control_register::read(guest),
        ExitCode::CR0_WRITE | ExitCode::CR3_WRITE | ExitCode::CR4_WRITE => control_register::write(guest),
        ExitCode::INVLPG => control_register::invlpg(guest),
        // Caches may be invalidated only with the host's data written back, which the guest cannot tell from nothing.
        ExitCode::INVD => guest.retire(),
        // It stays pending while GIF is 0; the host took and counted it after STGI.
        ExitCode::NMI => Next::Resume,
        // INTR cannot come: V_INTR_MASKING and the host's IF = 0 hold interrupts back.
        _ => Next::Unhandled,
    }
}

/// The guest ended: says how.
fn ended(guest: &mut Guest, end: End) -> Outcome {
    guest.serial.flush();
    match end {
        End::Guest { how, status, outcome } => {
            Record::new("guest.end").word("how", how).hex("status", status).emit();
            outcome
        }
        End::MemoryViolation => {
            report(guest);
            Outcome::GuestMemoryViolation
        }
    }
}

/// Nobody handles this exit: says which it was, and where the guest stood.
fn unhandled(guest: &mut Guest) -> Outcome {
    guest.serial.flush();
    report(guest);
    Outcome::UnhandledExit
}

fn report(guest: &Guest) {
    let (control, save) = (&guest.vmcb.control, &guest.vmcb.save);
    let name = control.exit_code.name().unwrap_or("unknown");
    Record::new("exit")
        .hex("code", control.exit_code.0)
        .word("name", name)
        .hex("info1", control.exit_info_1)
        .hex("info2", control.exit_info_2)
        .hex("rip", save.rip)
        .hex("cs", save.cs.selector.into())
        .hex("rax", save.rax)
        .emit();
    log!(
        "exit {name} at {:04x}:{:x}, CPL {}",
        save.cs.selector,
        save.rip,
        save.cpl
    );
    log!(
        "  exitinfo {:#x} {:#x} exitintinfo {:#x}",
        control.exit_info_1,
        control.exit_info_2,
        control.exit_int_info.0
    );
    log!(
        "  cr0 {:x} cr3 {:x} cr4 {:x} efer {:x} cr2 {:x}",
        save.cr0.bits(),
        save.cr3,
        save.cr4.bits(),
        save.efer.bits(),
        save.cr2
    );
    log!(
        "  rflags {:x} rsp {:x} rax {:x}",
        save.rflags.bits(),
        save.rsp,
        save.rax
    );
}
