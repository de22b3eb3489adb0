//! Nested page faults: writes to the local APIC's registers, and touches of what the guest does not have.

use pc::apic::{self, Shorthand};
use pc::mmio::Effect;
use runtime::msr::try_wrmsr;
use svm::exit::NpfErrorCode;
use svm::system_registers::Illegal;

use crate::defect;
use crate::exits::{End, Next};
use crate::os::cpu::Cpu;
use crate::os::machine::Machine;
use crate::os::processors::{self, Target};

const INTERRUPT_COMMAND: u64 = 0x300;
const INTERRUPT_COMMAND_HIGH: u64 = 0x310;
/// Physical ids that mean all processors, the sender too: of the APIC, and of the x2APIC (16.5).
const BROADCASTS: [u32; 2] = [0xFF, u32::MAX];

/// Answers a nested page fault.
#[inline(always)]
pub fn handle(cpu: &mut Cpu) -> Next {
    let address = cpu.vmcb.control.exit_info_2;
    let error = NpfErrorCode::from_bits_truncate(cpu.vmcb.control.exit_info_1);
    let to_apic = address & !0xFFF == cpu.machine.apic.0;
    if !to_apic || !error.contains(NpfErrorCode::WRITE) {
        return Next::End(End::MemoryViolation);
    }
    // EXITINFO1[33:32] tell a walk of the guest's tables from an access, but QEMU 5.2 leaves both 0, and Bochs 2.6 has them
    // the wrong way round (nested_page_fault()). So an instruction that stores is taken for the one that did: a guest whose
    // tables lie in the APIC's page gets a store there that it may do anyway.
    match write_apic(cpu, address) {
        Next::Unhandled if error.contains(NpfErrorCode::TABLE) => Next::End(End::MemoryViolation),
        next => next,
    }
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
        write_register(cpu.machine, address & 0xFFF, value as u32);
    }
    let next = cpu.vmcb.save.rip.wrapping_add(access.length.into());
    cpu.retire_to(next)
}

/// A write of one of the local APIC's registers.
fn write_register(machine: &Machine, register: u64, value: u32) {
    const ID_SHIFT: u32 = 24;
    let at = |register| (machine.apic.0 + register) as *mut u32;
    let mut value = value;
    if register == INTERRUPT_COMMAND {
        // SAFETY: the page is mapped, and reading has no effect.
        let target = unsafe { at(INTERRUPT_COMMAND_HIGH).read_volatile() } >> ID_SHIFT;
        match command(machine, value, target) {
            Some(passed) => value = passed,
            None => return,
        }
    }
    // SAFETY: the APIC is the guest's, and the command takes no processor from the hypervisor; the page is mapped.
    unsafe { at(register).write_volatile(value) };
}

/// A write of the x2APIC's interrupt command register.
pub fn write_command(cpu: &mut Cpu, value: u64) -> Result<(), Illegal> {
    let target = (value >> 32) as u32;
    let Some(passed) = command(cpu.machine, value as u32, target) else {
        return Ok(());
    };
    let value = u64::from(target) << 32 | u64::from(passed);
    // SAFETY: the command takes no processor from the hypervisor.
    unsafe { try_wrmsr(pc::policy::msr::X2APIC_ICR, value) }.map_err(|_| Illegal)
}

/// An interrupt command, and what is sent instead; `None` for one that is dropped, because the hypervisor would lose a
/// processor by it.
fn command(machine: &Machine, value: u32, target: u32) -> Option<u32> {
    let command = apic::Command(value);
    if command.is_nmi() && defect::NMI_DROPPED.is_on() {
        return None;
    }
    if command.is_init() && defect::INIT_PASSED.is_on() {
        return Some(value);
    }
    let target = match (command.shorthand(), command.is_logical()) {
        (Shorthand::Others, _) => Target::Others,
        (Shorthand::None, false) if !BROADCASTS.contains(&target) => Target::One(target),
        // To itself, to everybody, or by logical ids: nobody starts processors so.
        _ => return (!command.is_init() && !command.is_startup()).then_some(value),
    };
    if command.is_init() {
        processors::init(target).then_some(value)
    } else if command.is_startup() {
        processors::startup(machine, target, command.vector()).map(|vector| command.with_vector(vector).0)
    } else {
        Some(value)
    }
}

/// A write of APIC_BASE: the modes may change, the address may not.
pub fn write_apic_base(cpu: &mut Cpu, value: u64) -> Result<(), Illegal> {
    const ADDRESS: u64 = !0xFFF;
    if value & ADDRESS != cpu.machine.apic.0 {
        return Err(Illegal);
    }
    cpu.answers.forget();
    // SAFETY: the APIC is the guest's; the host uses none.
    unsafe { try_wrmsr(pc::policy::msr::APIC_BASE, value) }.map_err(|_| Illegal)
}
