//! The run loop: VMRUN, #VMEXIT, a handler, and again. The host's GIF stays 0 all the time.

use runtime::Outcome;
use svm::exit::ExitCode;
use svm::vmcb::{CleanBits, EventInjection, TlbControl};

use super::cpu::Cpu;
use super::exits::{cpuid, event, halt, invalid, msr, nested, port};
use crate::exits::{End, INVALID_OPCODE, Next};
use crate::{defect, refused, report, startup, world};

/// Runs the guest to its end.
pub fn run(cpu: &mut Cpu) -> Outcome {
    let vmcb = cpu.vmcb_address();
    // SAFETY: SVM was enabled before, and the VMCB is complete.
    unsafe { world::leave_host(vmcb) };
    let mut forgiven = None;
    loop {
        // SAFETY: the VMCB lets the guest reach everything but what is the hypervisor's.
        if let Err(fault) = unsafe { world::run(&mut cpu.vcpu.registers, vmcb) } {
            return refused::by_fault(cpu, fault);
        }
        let control = &mut cpu.vcpu.vmcb.control;
        if control.exit_code.is_invalid() {
            control.clean = CleanBits::empty();
            forgiven = invalid::forgive(cpu, forgiven);
            if forgiven.is_none() {
                return refused::by_invalid(cpu);
            }
            continue;
        }
        // The processor keeps both as they were written: once is enough (15.16.1, 15.20).
        control.tlb_control = TlbControl::NONE;
        control.event_injection = EventInjection::NONE;
        // What the four handlers below leave alone; whatever else happens says what it changes.
        control.clean = cpu.clean;
        if defect::MAP_CHANGED.is_on() {
            // SAFETY: the map is ours; linear is physical.
            unsafe { (cpu.vmcb.control.iopm_base_pa.0 as *mut u8).write_volatile(0xFF) };
        }
        if cpu.halted {
            halt::woken(cpu);
        }
        let next = dispatch(cpu);
        if defect::CLEAN_LIES.is_on() {
            cpu.vmcb.control.clean = cpu.clean;
        }
        if let Next::Resume = next {
            cpu.resume_delivery();
        } else {
            return ended(cpu, next);
        }
    }
}

#[cold]
fn ended(cpu: &Cpu, last: Next) -> Outcome {
    match last {
        Next::End(End::Shutdown) if defect::SHUTDOWN_UNNAMED.is_on() => Outcome::UnhandledExit,
        Next::End(end) => report::end(cpu, end, None),
        Next::Unhandled | Next::Resume => {
            report::exit(cpu);
            Outcome::UnhandledExit
        }
    }
}

/// What happens all day, and the rest.
#[inline(always)]
fn dispatch(cpu: &mut Cpu) -> Next {
    match cpu.vmcb.control.exit_code {
        ExitCode::CPUID => cpuid::handle(cpu),
        ExitCode::NPF => nested::handle(cpu),
        ExitCode::MSR => msr::handle(cpu),
        ExitCode::VMMCALL => event::hypercall(cpu),
        _ => rare(cpu),
    }
}

#[cold]
fn rare(cpu: &mut Cpu) -> Next {
    cpu.vmcb.control.clean = CleanBits::empty();
    match cpu.vmcb.control.exit_code {
        ExitCode::IOIO => port::handle(cpu),
        ExitCode::HLT => halt::handle(cpu),
        ExitCode::EXCP_GP => event::general_protection(cpu),
        ExitCode::SHUTDOWN => Next::SHUTDOWN,
        // Another processor of the guest's wants this one to stop.
        ExitCode::INIT => startup::wait_for_startup(),
        // Caches may be invalidated only with the host's data written back, which the guest cannot tell from nothing.
        ExitCode::INVD => cpu.retire(),
        ExitCode::VMRUN
        | ExitCode::VMLOAD
        | ExitCode::VMSAVE
        | ExitCode::STGI
        | ExitCode::CLGI
        | ExitCode::SKINIT
        | ExitCode::INVLPGA
        | ExitCode::MONITOR
        | ExitCode::MWAIT
        | ExitCode::MWAIT_CONDITIONAL
        | ExitCode::RDPRU => cpu.raise(INVALID_OPCODE, None),
        _ => Next::Unhandled,
    }
}
