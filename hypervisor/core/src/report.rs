//! Records of a guest's beginning and end. docs/protocol.md, "Records".

use runtime::{Outcome, Record, log};
use svm::addr::HostPhys;
use svm::vmcb::Vmcb;

use crate::exits::End;
use crate::memory::host_address;
use crate::vcpu::Vcpu;

/// What has to be known before the first VMRUN.
pub fn before_first_entry(vmcb: &mut Vmcb, paging: &str, table: HostPhys) {
    Record::new("paging").word("mode", paging).emit();
    Record::new("vmcb")
        .hex("pa", host_address(vmcb).0)
        .hex("iopm", vmcb.control.iopm_base_pa.0)
        .hex("msrpm", vmcb.control.msrpm_base_pa.0)
        .hex("table", table.0)
        .emit();
}

/// The guest ended: says how, and gives the outcome. `number` tells it from others.
pub fn end(vcpu: &Vcpu, end: End, number: Option<usize>) -> Outcome {
    let (how, status, outcome) = match end {
        End::Exit(0) => ("exit", 0, Outcome::GuestFinished),
        End::Exit(status) => ("exit", status, Outcome::GuestFailed),
        End::Halt => ("halt", 0, Outcome::GuestHalted),
        End::PowerOff => ("power-off", 0, Outcome::GuestFinished),
        End::Reset => ("reset", 0, Outcome::GuestReset),
        End::Shutdown => ("shutdown", 0, Outcome::GuestShutdown),
        End::MemoryViolation => {
            exit(vcpu);
            return Outcome::GuestMemoryViolation;
        }
    };
    let record = Record::new("guest.end").word("how", how).hex("status", status);
    match number {
        Some(number) => record.hex("guest", number as u64).emit(),
        None => record.emit(),
    }
    outcome
}

/// An exit that nobody handles: which, and where the guest stood.
pub fn exit(vcpu: &Vcpu) {
    let (control, save) = (&vcpu.vmcb.control, &vcpu.vmcb.save);
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
