//! Nested page faults: writes to the local APIC's registers, and touches of what the guest does not have.

use pc::mmio::Effect;
use runtime::msr::try_wrmsr;
use svm::exit::NpfErrorCode;
use svm::system_registers::Illegal;

use crate::exits::{End, Next};
use crate::os::cpu::Cpu;

const INTERRUPT_COMMAND: u64 = 0x300;
/// Delivery modes of an interrupt command, bits 10:8 (APM vol. 2, 16.5).
const DELIVERY_MODE: u64 = 7 << 8;
const INIT: u64 = 5 << 8;
const STARTUP: u64 = 6 << 8;

/// Answers a nested page fault.
pub fn handle(cpu: &mut Cpu) -> Next {
    let address = cpu.vmcb.control.exit_info_2;
    let error = NpfErrorCode::from_bits_truncate(cpu.vmcb.control.exit_info_1);
    let to_apic = address & !0xFFF == cpu.machine.apic.0;
    if to_apic && error.contains(NpfErrorCode::WRITE | NpfErrorCode::FINAL) {
        return write_apic(cpu, address);
    }
    Next::End(End::MemoryViolation)
}

fn write_apic(cpu: &mut Cpu, address: u64) -> Next {
    let Some(access) = cpu.mmio_access() else {
        return Next::Unhandled;
    };
    let value = match access.effect {
        Effect::StoreConstant(value) => value,
        Effect::StoreRegister(register) => cpu.read_register(register.number, 8) >> register.shift,
        // A read of the page needs no exit, and nobody exchanges with an APIC any more.
        Effect::Load { .. } | Effect::Exchange(_) => return Next::Unhandled,
    };
    // The manual allows 32-bit accesses only (16.3.2); others do nothing here.
    if access.size == 4 {
        let register = address & 0xFFF;
        let value = value as u32;
        if register != INTERRUPT_COMMAND || passes(value.into()) {
            // SAFETY: the APIC is the guest's, and the command does not stop a processor; the page is mapped.
            unsafe { (address as *mut u32).write_volatile(value) };
        }
    }
    let next = cpu.vmcb.save.rip.wrapping_add(access.length.into());
    cpu.retire_to(next)
}

/// A write of the x2APIC's interrupt command register.
pub fn command(_cpu: &mut Cpu, value: u64) -> Result<(), Illegal> {
    if !passes(value) {
        return Ok(());
    }
    // SAFETY: the command interrupts a processor that runs the guest, no more.
    unsafe { try_wrmsr(pc::policy::msr::X2APIC_ICR, value) }.map_err(|_| Illegal)
}

/// True for commands that cannot take a processor out of the hypervisor's hands. The others are dropped: the processors
/// that they would start are not the guest's.
fn passes(command: u64) -> bool {
    !matches!(command & DELIVERY_MODE, INIT | STARTUP)
}

/// A write of APIC_BASE: the modes may change, the address may not.
pub fn write_apic_base(cpu: &mut Cpu, value: u64) -> Result<(), Illegal> {
    const ADDRESS: u64 = !0xFFF;
    if value & ADDRESS != cpu.machine.apic.0 {
        return Err(Illegal);
    }
    // SAFETY: the APIC is the guest's; the host uses none.
    unsafe { try_wrmsr(pc::policy::msr::APIC_BASE, value) }.map_err(|_| Illegal)
}
