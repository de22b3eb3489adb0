//! The run loop: VMRUN, #VMEXIT, a handler, and again.

use runtime::Outcome;
use svm::exit::ExitCode;

use crate::exits::{
    INVALID_OPCODE, Next, control_register, cpuid, exception, hypercall, io, memory, msr, svm_instruction,
};
use crate::guest::{Guest, State};
use crate::memory::{disturb_host_save_area, host_save_area};
use crate::turns::Turns;
use crate::{defect, enable, own_state, refused, report};

/// Runs the guests, each to its end.
pub fn run(turns: &mut Turns) -> Outcome {
    let mut exits = 0;
    while let Some(guest) = turns.next() {
        if let Err(fault) = guest.enter() {
            return refused::by_fault(guest, fault);
        }
        exits += 1;
        own_state::after_exit();
        disturb_host_save_area(exits);
        if exits == 1 && defect::HSAVE_LATE.is_on() && enable::vm_hsave_pa(host_save_area()).is_err() {
            return Outcome::VmHsavePa;
        }
        if guest.vmcb.control.exit_code.is_invalid() {
            return refused::by_invalid(guest);
        }
        match dispatch(guest) {
            Next::Resume => guest.resume_delivery(),
            Next::Unhandled => {
                let outcome = unhandled(guest);
                turns.ended(outcome);
            }
            Next::End(end) => turns.end(end),
        }
    }
    turns.outcome()
}

fn dispatch(guest: &mut Guest) -> Next {
    match guest.vmcb.control.exit_code {
        ExitCode::VMMCALL => hypercall::handle(guest),
        ExitCode::CPUID => cpuid::handle(guest),
        ExitCode::MSR => msr::handle(guest),
        ExitCode::IOIO => io::handle(guest),
        ExitCode::HLT => halt(guest),
        ExitCode::SHUTDOWN => Next::SHUTDOWN,
        ExitCode::NPF => memory::nested_page_fault(guest),
        ExitCode::EXCP_GP => exception::general_protection(guest),
        ExitCode::EXCP_DF => exception::double_fault(guest),
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
        ExitCode::CR0_WRITE | ExitCode::CR3_WRITE | ExitCode::CR4_WRITE | ExitCode::CR8_WRITE => {
            control_register::write(guest)
        }
        ExitCode::INVLPG => control_register::invlpg(guest),
        // Caches may be invalidated only with the host's data written back, which the guest cannot tell from nothing.
        ExitCode::INVD => guest.retire(),
        // It waits for somebody, perhaps for another guest's turn to be over.
        ExitCode::PAUSE => guest.retire(),
        // Both stay pending while GIF is 0; the host took the NMI or the tick after STGI.
        ExitCode::NMI | ExitCode::INTR => Next::Resume,
        ExitCode::VINTR => {
            guest.pending.window_opened();
            Next::Resume
        }
        ExitCode::IRET => {
            guest.pending.nmi_ends(guest.vcpu.vmcb);
            Next::Resume
        }
        ExitCode::TASK_SWITCH if defect::TASK_SWITCH_SKIPPED.is_on() => {
            const FAR_CALL: u64 = 7; // and far JMP, in 32-bit code
            let behind = guest.vmcb.save.rip + FAR_CALL;
            guest.retire_to(behind)
        }
        _ => Next::Unhandled,
    }
}

/// HLT: the guest stands behind it when it goes on.
fn halt(guest: &mut Guest) -> Next {
    guest.state = State::Halts;
    guest.retire()
}

/// Nobody handles this exit: says which it was, and where the guest stood.
fn unhandled(guest: &mut Guest) -> Outcome {
    guest.serial.flush();
    report::exit(guest);
    Outcome::UnhandledExit
}
