//! RDMSR and WRMSR: `pc::policy::msr`.

use pc::policy::msr::{self, Access, rule};
use runtime::msr::{try_rdmsr, try_wrmsr};
use svm::regs::Efer;
use svm::system_registers::Illegal;
use svm::vmcb::CleanBits;

use crate::defect;
use crate::exits::{GENERAL_PROTECTION, Next};
use crate::os::cpu::Cpu;
use crate::os::exits::nested;
use crate::vcpu::flush_control;

/// The last register that the permission map covers (15.11).
const LAST_OF_MAP: u32 = 0xC001_1FFF;

/// Answers RDMSR and WRMSR.
#[inline(always)]
pub fn handle(cpu: &mut Cpu) -> Next {
    const WRITE: u64 = 1;
    let register = cpu.registers.rcx as u32;
    if register == LAST_OF_MAP && defect::REGISTER_OVERLOOKED.is_on() {
        return Next::Unhandled;
    }
    let done = if cpu.vmcb.control.exit_info_1 == WRITE {
        let value = cpu.registers.rdx << 32 | cpu.rax() & 0xFFFF_FFFF;
        write(cpu, register, value)
    } else {
        read(cpu, register).map(|value| {
            cpu.set_rax(value & 0xFFFF_FFFF);
            cpu.registers.rdx = value >> 32;
        })
    };
    match done {
        Ok(()) => cpu.retire(),
        Err(Illegal) => cpu.raise(GENERAL_PROTECTION, Some(0)),
    }
}

#[inline(always)]
fn read(cpu: &Cpu, register: u32) -> Result<u64, Illegal> {
    match register {
        // What exits because it is emulated comes first: all else exits because the permission map cannot pass it.
        svm::msr::EFER if defect::EFER_VISIBLE.is_on() => Ok(cpu.vmcb.save.efer.bits()),
        svm::msr::EFER => Ok(cpu.system_registers().efer.bits()),
        svm::msr::PAT => Ok(cpu.vmcb.save.g_pat),
        _ => read_other(register),
    }
}

#[cold]
fn read_other(register: u32) -> Result<u64, Illegal> {
    if register == msr::MTRR_CAP && defect::MSR_REFUSED.is_on() {
        return Err(Illegal);
    }
    match rule(register).map_or(Access::Fault, |rule| rule.read) {
        Access::Pass => try_rdmsr(register).map_err(|_| Illegal),
        Access::Zero => Ok(0),
        Access::Fault | Access::Ignore | Access::Emulate => Err(Illegal),
    }
}

#[inline(always)]
fn write(cpu: &mut Cpu, register: u32, value: u64) -> Result<(), Illegal> {
    match register {
        svm::msr::EFER => write_efer(cpu, value),
        msr::X2APIC_ICR => nested::write_command(cpu, value),
        _ => write_other(cpu, register, value),
    }
}

fn write_efer(cpu: &mut Cpu, value: u64) -> Result<(), Illegal> {
    let before = cpu.system_registers();
    let after = before.write_efer(value, &cpu.machine.processor)?;
    cpu.vmcb.save.efer = after.efer | Efer::SVME;
    cpu.vmcb.control.clean -= CleanBits::CONTROL_REGISTERS;
    if before.needs_flush(&after) && !defect::FLUSH_MISSED.is_on() {
        cpu.vmcb.control.tlb_control = flush_control(cpu.features);
    }
    Ok(())
}

#[cold]
fn write_other(cpu: &mut Cpu, register: u32, value: u64) -> Result<(), Illegal> {
    match rule(register).map_or(Access::Fault, |rule| rule.write) {
        // SAFETY: the policy passes only what the host does not stand on.
        Access::Pass => unsafe { try_wrmsr(register, value) }.map_err(|_| Illegal),
        Access::Ignore => Ok(()),
        Access::Fault | Access::Zero => Err(Illegal),
        Access::Emulate => match register {
            svm::msr::PAT if is_legal_pat(value) => {
                cpu.vmcb.save.g_pat = value;
                cpu.vmcb.control.clean -= CleanBits::NESTED;
                Ok(())
            }
            msr::APIC_BASE => nested::write_apic_base(cpu, value),
            _ => Err(Illegal),
        },
    }
}

/// APM vol. 2, 7.8: each of the eight types is UC, WC, WT, WP, WB or UC-.
fn is_legal_pat(value: u64) -> bool {
    value.to_le_bytes().iter().all(|&kind| matches!(kind, 0 | 1 | 4..=7))
}
