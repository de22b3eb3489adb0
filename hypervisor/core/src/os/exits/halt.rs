//! HLT: with interrupts on the guest's processor waits by itself, else it waits for ever.

use svm::intercepts::Misc1;
use svm::regs::Rflags;

use crate::exits::Next;
use crate::os::cpu::Cpu;

/// Lets the guest wait for its interrupt, or ends it. HLT is executed again, this time without an exit; the next exit for
/// another reason switches the intercept on again ([`watch`]).
pub fn handle(cpu: &mut Cpu) -> Next {
    if !cpu.vmcb.save.rflags.contains(Rflags::IF) {
        return Next::HALTED;
    }
    cpu.vmcb.control.intercept_misc1 -= Misc1::HLT;
    Next::Resume
}

/// Watches HLT from now on.
pub fn watch(cpu: &mut Cpu) {
    cpu.vmcb.control.intercept_misc1 |= Misc1::HLT;
}
