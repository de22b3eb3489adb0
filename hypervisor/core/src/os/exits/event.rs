//! VMMCALL and #GP.

use svm::insn::Instruction;

use crate::defect;
use crate::exits::{GENERAL_PROTECTION, INVALID_OPCODE, Next, hypercall};
use crate::os::cpu::Cpu;

/// The hypercalls of all guests; a text to be printed must not cross the end of a page.
#[inline(always)]
pub fn hypercall(cpu: &mut Cpu) -> Next {
    let machine = cpu.machine;
    match hypercall::serve(&mut cpu.vcpu, |address, bytes| machine.read(address, bytes)) {
        Some(next) => next,
        None => cpu.retire(),
    }
}

/// #GP: goes to the guest; but the #GP(0) of an SVM instruction becomes the #UD of a processor that has none (15.9).
pub fn general_protection(cpu: &mut Cpu) -> Next {
    let error = cpu.vmcb.control.exit_info_1 as u32;
    if error == 0 && cpu.cpl() != 0 && !defect::CPL3_GP.is_on() && is_svm_instruction(cpu) {
        return cpu.raise(INVALID_OPCODE, None);
    }
    cpu.raise(GENERAL_PROTECTION, Some(error))
}

fn is_svm_instruction(cpu: &Cpu) -> bool {
    matches!(
        cpu.instruction().map(|decoded| decoded.instruction),
        Some(
            Instruction::Vmrun
                | Instruction::Vmload
                | Instruction::Vmsave
                | Instruction::Stgi
                | Instruction::Clgi
                | Instruction::Skinit
                | Instruction::Invlpga
        )
    )
}
