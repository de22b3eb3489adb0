//! VMEXIT_INVALID of a guest that runs: an engine's mistake.
//!
//! QEMU's TCG answers a MOV to CR3 or CR4 that ought to raise #GP(0) with that exit code (`helper_write_crN()`), long after
//! VMRUN accepted the guest. So the guest gets its #GP(0), and goes on.

use svm::checks::{self, Effect};
use svm::insn::{CodeSize, Instruction};
use svm::system_registers::Illegal;

use crate::exits::{GENERAL_PROTECTION, Next};
use crate::os::cpu::Cpu;
use crate::refused;

/// Where the last such exit was. The same again, without any step between, is a VMRUN that refuses its guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    rip: u64,
    rsp: u64,
    rax: u64,
    rflags: u64,
    general: [u64; 14],
}

/// If the guest wrote what it must not write: raises #GP(0), and says where. `None` if VMRUN refused the guest, or if the
/// fault cannot be delivered.
pub fn forgive(cpu: &mut Cpu, last: Option<Place>) -> Option<Place> {
    let refused = checks::violations(cpu.vmcb, &refused::host()).any(|violation| violation.effect == Effect::Invalid);
    if refused || !wrote_illegally(cpu) {
        return None;
    }
    let place = Place::of(cpu);
    if last == Some(place) {
        return None;
    }
    match cpu.raise(GENERAL_PROTECTION, Some(0)) {
        Next::Resume => Some(place),
        _ => None,
    }
}

/// Whether CS:RIP is at a MOV to CR3 or CR4 of a value that is illegal.
fn wrote_illegally(cpu: &mut Cpu) -> bool {
    let Some(Instruction::MovToCr { cr, gpr }) = cpu.instruction().map(|decoded| decoded.instruction) else {
        return false;
    };
    let size = if cpu.code_size() == CodeSize::Bits64 { 8 } else { 4 };
    let (value, registers) = (cpu.read_register(gpr, size), cpu.system_registers());
    let result = match cr {
        3 => registers.write_cr3(value, &cpu.machine.processor),
        4 => registers.write_cr4(value, &cpu.machine.processor),
        _ => return false,
    };
    result == Err(Illegal)
}

impl Place {
    fn of(cpu: &mut Cpu) -> Self {
        const RSP: u8 = 4;
        let mut general = [0; 14];
        for (slot, number) in general.iter_mut().zip((1..16).filter(|&number| number != RSP)) {
            *slot = cpu.read_register(number, 8);
        }
        let save = &cpu.vmcb.save;
        Self {
            rip: save.rip,
            rsp: save.rsp,
            rax: save.rax,
            rflags: save.rflags.bits(),
            general,
        }
    }
}
