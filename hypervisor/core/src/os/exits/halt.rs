//! HLT: the guest's processor waits by itself; when the last one waits for what cannot come, the guest has ended.

use svm::intercepts::Misc1;
use svm::regs::Rflags;
use svm::vmcb::CleanBits;

use crate::exits::Next;
use crate::os::cpu::Cpu;
use crate::os::processors;

/// Lets the guest wait, or ends it. HLT is executed again, this time without an exit; the next exit for another reason
/// switches the intercept on again ([`woken`]).
pub fn handle(cpu: &mut Cpu) -> Next {
    let waits_for_ever = !cpu.vmcb.save.rflags.contains(Rflags::IF);
    if waits_for_ever && processors::sleep(cpu.id) {
        return Next::HALTED;
    }
    cpu.halted = true;
    cpu.vmcb.control.intercept_misc1 -= Misc1::HLT;
    Next::Resume
}

/// After an exit for another reason: watches HLT from now on.
pub fn woken(cpu: &mut Cpu) {
    cpu.halted = false;
    cpu.vmcb.control.intercept_misc1 |= Misc1::HLT;
    cpu.vmcb.control.clean -= CleanBits::INTERCEPTS;
    processors::wake(cpu.id);
}
