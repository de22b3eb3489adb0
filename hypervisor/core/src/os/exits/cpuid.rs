//! CPUID: `pc::policy::cpuid`.

use pc::policy::cpuid::answer;
use runtime::cpuid::cpuid;

use crate::exits::Next;
use crate::os::cpu::Cpu;

/// Answers CPUID.
pub fn handle(cpu: &mut Cpu) -> Next {
    let (function, subfunction) = (cpu.rax() as u32, cpu.registers.rcx as u32);
    let told = answer(function, subfunction, cpuid(function, subfunction), cpu.vmcb.save.cr4);
    cpu.set_rax(told.eax.into());
    cpu.registers.rbx = told.ebx.into();
    cpu.registers.rcx = told.ecx.into();
    cpu.registers.rdx = told.edx.into();
    cpu.retire()
}
