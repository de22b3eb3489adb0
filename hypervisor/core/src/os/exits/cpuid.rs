//! CPUID: `pc::policy::cpuid`.

use pc::policy::cpuid::{Question, answer};
use runtime::cpuid::CpuidResult;
use svm::features::LEAF_EXTENDED_FEATURES;

use crate::defect;
use crate::exits::Next;
use crate::os::cpu::Cpu;
use crate::vcpu::Vcpu;

const LEAF_HYPERVISOR: u32 = 0x4000_0000;
const SVM: u32 = 1 << 2;

/// Answers CPUID.
#[inline(always)]
pub fn handle(cpu: &mut Cpu) -> Next {
    let Cpu { vcpu, answers, .. } = cpu;
    let (function, subfunction) = (vcpu.rax() as u32, vcpu.registers.rcx as u32);
    match answers.recall(Question::new(function, subfunction, vcpu.vmcb.save.cr4)) {
        Some(told) => tell(vcpu, told),
        None => ask(cpu, function, subfunction),
    }
    cpu.retire()
}

#[inline]
fn tell(vcpu: &mut Vcpu, told: &CpuidResult) {
    if vcpu.rax() as u32 == LEAF_HYPERVISOR && vcpu.cpl() == 3 && defect::REGISTER_LOST.is_on() {
        vcpu.write_register(12, 0, 8);
    }
    vcpu.set_rax(told.eax.into());
    vcpu.registers.rbx = told.ebx.into();
    vcpu.registers.rcx = told.ecx.into();
    vcpu.registers.rdx = told.edx.into();
}

/// Asks the processor and the policy, and keeps the answer.
#[cold]
fn ask(cpu: &mut Cpu, function: u32, subfunction: u32) {
    let cr4 = cpu.vmcb.save.cr4;
    let host = cpu.machine.cpuid(function, subfunction);
    let mut told = answer(function, subfunction, host, cr4);
    if function == LEAF_EXTENDED_FEATURES && defect::SVM_VISIBLE.is_on() {
        told.ecx |= host.ecx & SVM;
    }
    cpu.answers.keep(Question::new(function, subfunction, cr4), told);
    tell(&mut cpu.vcpu, &told);
}
