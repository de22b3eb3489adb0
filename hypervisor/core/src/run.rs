//! The run loop: VMRUN, #VMEXIT, a handler, and again.

use runtime::Outcome;
use svm::exit::ExitCode;

use crate::exits::{
    End, INVALID_OPCODE, Next, control_register, cpuid, exception, hypercall, io, msr, svm_instruction,
};
use crate::guest::Guest;
use crate::{defect, enable, memory, refused, report};

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
        // It waits for somebody. There is nobody else here who could do something meanwhile.
        ExitCode::PAUSE => guest.retire(),
        // It stays pending while GIF is 0; the host took and counted it after STGI.
        ExitCode::NMI => Next::Resume,
        // INTR cannot come: V_INTR_MASKING and the host's IF = 0 hold interrupts back.
        _ => Next::Unhandled,
    }
}

/// The guest ended: says how.
fn ended(guest: &mut Guest, end: End) -> Outcome {
    guest.serial.flush();
    report::end(guest, end)
}

/// Nobody handles this exit: says which it was, and where the guest stood.
fn unhandled(guest: &mut Guest) -> Outcome {
    guest.serial.flush();
    report::exit(guest);
    Outcome::UnhandledExit
}
