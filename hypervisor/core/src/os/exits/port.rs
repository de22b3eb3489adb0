//! IN and OUT of the ports that are watched: `pc::policy::port`.

use pc::policy::port::{A20, Access, SYSTEM_CONTROL, Verdict, judge};
use svm::exit::IoExitInfo;
use x86_64::instructions::port::Port;

use crate::defect;
use crate::exits::Next;
use crate::os::cpu::Cpu;

const RAX: u8 = 0;

/// Does the access, or what it asks for. INS and OUTS are not handled.
pub fn handle(cpu: &mut Cpu) -> Next {
    let info = IoExitInfo(cpu.vmcb.control.exit_info_1);
    let (false, Some(size)) = (info.is_string(), info.size()) else {
        return Next::Unhandled;
    };
    let written = (!info.is_in()).then(|| cpu.read_register(RAX, size) as u32);
    let access = Access {
        port: info.port(),
        size,
        written,
    };
    match judge(access, cpu.machine.power) {
        Verdict::PowerOff if defect::POWER_OFF_MISNAMED.is_on() => return Next::RESET,
        Verdict::PowerOff => return Next::POWERED_OFF,
        Verdict::Reset => return Next::RESET,
        Verdict::Absent => {
            if written.is_none() {
                cpu.write_register(RAX, u64::MAX, size);
            }
        }
        Verdict::Instead(value) => {
            let access = Access {
                written: if defect::A20_PASSED.is_on() {
                    written
                } else {
                    Some(value)
                },
                ..access
            };
            // SAFETY: the policy chose the value.
            unsafe { pass(access) };
        }
        Verdict::Pass => {
            // SAFETY: the policy found nothing in it that could harm the hypervisor.
            let mut read = unsafe { pass(access) };
            if access.port == SYSTEM_CONTROL && defect::A20_CLAIMED.is_on() {
                read &= !u32::from(A20);
            }
            if written.is_none() {
                cpu.write_register(RAX, read.into(), size);
            }
        }
    }
    // EXITINFO2 is the next RIP, on every processor (15.10.2).
    let next = cpu.vmcb.control.exit_info_2;
    cpu.retire_to(next)
}

/// Does the access; what is read is 0 for a write.
///
/// # Safety
/// What the device does must be no danger.
unsafe fn pass(Access { port, size, written }: Access) -> u32 {
    // SAFETY: the caller answers for it.
    unsafe {
        match (size, written) {
            (1, None) => return Port::<u8>::new(port).read().into(),
            (2, None) => return Port::<u16>::new(port).read().into(),
            (_, None) => return Port::new(port).read(),
            (1, Some(value)) => Port::new(port).write(value as u8),
            (2, Some(value)) => Port::new(port).write(value as u16),
            (_, Some(value)) => Port::new(port).write(value),
        }
    }
    0
}
