//! VMMCALL and #GP.

use svm::insn::Instruction;

use crate::defect;
use crate::exits::{GENERAL_PROTECTION, INVALID_OPCODE, Next};
use crate::os::cpu::Cpu;

/// Hypercall 4, which does nothing; there are no others for an operating system.
pub fn hypercall(cpu: &mut Cpu) -> Next {
    const NOTHING: u32 = 4;
    const DENIED: u64 = u64::MAX;
    let known = cpu.rax() as u32 == NOTHING && cpu.cpl() == 0;
    cpu.set_rax(if known { 0 } else { DENIED });
    cpu.retire_plain([0x0F, 0x01, 0xD9])
}

/// #GP: goes to the guest; but the #GP(0) of an SVM instruction becomes the #UD of a processor that has none (15.9).
pub fn general_protection(cpu: &mut Cpu) -> Next {
    let error = cpu.vmcb.control.exit_info_1 as u32;
    if error == 0 && cpu.cpl() != 0 && !defect::CPL3_GP && is_svm_instruction(cpu) {
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
