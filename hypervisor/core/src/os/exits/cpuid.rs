//! CPUID: `pc::policy::cpuid`.

use pc::policy::cpuid::answer;
use runtime::cpuid::cpuid;
use svm::features::LEAF_EXTENDED_FEATURES;

use crate::defect;
use crate::exits::Next;
use crate::os::cpu::Cpu;

const LEAF_HYPERVISOR: u32 = 0x4000_0000;
const SVM: u32 = 1 << 2;

/// Answers CPUID.
pub fn handle(cpu: &mut Cpu) -> Next {
    let (function, subfunction) = (cpu.rax() as u32, cpu.registers.rcx as u32);
    let host = cpuid(function, subfunction);
    let mut told = answer(function, subfunction, host, cpu.vmcb.save.cr4);
    if defect::SVM_VISIBLE && function == LEAF_EXTENDED_FEATURES {
        told.ecx |= host.ecx & SVM;
    }
    if defect::REGISTER_LOST && function == LEAF_HYPERVISOR && cpu.cpl() == 3 {
        cpu.write_register(12, 0, 8);
    }
    cpu.set_rax(told.eax.into());
    cpu.registers.rbx = told.ebx.into();
    cpu.registers.rcx = told.ecx.into();
    cpu.registers.rdx = told.edx.into();
    cpu.retire_plain([0x0F, 0xA2])
}
