//! The guest's further processors: it starts them by INIT and start-up interrupts, as on any PC, and the hypervisor sends
//! each to its own code first (`asm/startup.asm`).
//!
//! A processor that the guest never starts was never started at all. INIT goes through as it is: it stops a processor
//! until a start-up interrupt comes, and that is the hypervisor's again.

use core::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, Ordering};

use runtime::cpuid::cpuid;
use runtime::{descriptors, exit, log};
use svm::addr::{HostPhys, PAGE_SIZE};
use svm::vmcb::Vmcb;

use crate::defect;
use crate::startup::{self, enable, wait_for_startup};

use super::cpu::Cpu;
use super::machine::Machine;
use super::{run, setup};

/// As many as there is memory for: physical APIC ids from 0.
pub const MAX: usize = 16;
/// For each: its VMCB, its host save area, and its stack.
pub const ROOM: u64 = 64 << 10;

static MACHINE: AtomicPtr<Machine> = AtomicPtr::new(core::ptr::null_mut());
/// The processor that the firmware started.
static FIRST: AtomicU32 = AtomicU32::new(0);
/// Where each shall start, as a start-up interrupt says it: the number of a page.
static VECTORS: [AtomicU8; MAX] = [const { AtomicU8::new(0) }; MAX];
/// Which run the guest's code, or wait for its interrupts; bit n is processor n.
static AWAKE: AtomicU32 = AtomicU32::new(0);

/// What a processor's interrupt command asks for beyond an interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The processor with this APIC id.
    One(u32),
    /// All but the sender.
    Others,
}

/// The physical APIC id of the processor that asks.
pub fn current() -> u32 {
    cpuid(1, 0).ebx >> 24
}

/// Gets ready for further processors.
///
/// # Safety
/// Called once, by the first processor; the page below 1 MiB and the room for `MAX` processors are nobody else's.
pub unsafe fn prepare(machine: &'static Machine) {
    // SAFETY: the caller answers for the page and the room.
    unsafe { startup::prepare(machine.startup_page, machine.room, ROOM, startup_rust) };
    MACHINE.store((&raw const *machine).cast_mut(), Ordering::Release);
    FIRST.store(current(), Ordering::Release);
    wake(current());
}

/// The guest sends INIT: the target stops, whatever it does. True if the command may pass. The first processor cannot be
/// stopped so: after INIT it does not wait, but starts the firmware, without a hypervisor.
pub fn init(target: Target) -> bool {
    let (sender, first) = (current(), FIRST.load(Ordering::Acquire));
    let stopped = match target {
        Target::One(id) => bit(id),
        Target::Others => !bit(sender),
    };
    if stopped & (bit(first) | bit(sender)) != 0 {
        return false;
    }
    AWAKE.fetch_and(!stopped, Ordering::AcqRel);
    true
}

/// The guest sends a start-up interrupt. The vector to be sent instead; `None` if there is no room for the target.
pub fn startup(machine: &Machine, target: Target, vector: u8) -> Option<u8> {
    match target {
        Target::One(id) => VECTORS.get(id as usize)?.store(vector, Ordering::Release),
        Target::Others => VECTORS.iter().for_each(|own| own.store(vector, Ordering::Release)),
    }
    Some((machine.startup_page.0 / PAGE_SIZE) as u8)
}

/// The processor waits for something that never comes. True if no other is left that could bring it.
pub fn sleep(id: u32) -> bool {
    AWAKE.fetch_and(!bit(id), Ordering::AcqRel) & !bit(id) == 0
}

/// The processor runs (again).
pub fn wake(id: u32) {
    AWAKE.fetch_or(bit(id), Ordering::AcqRel);
}

fn bit(id: u32) -> u32 {
    1_u32.checked_shl(id).unwrap_or(0)
}

/// Where `asm/startup.asm` leads: makes a virtual processor of this one, and runs it.
extern "sysv64" fn startup_rust(id: u32) -> ! {
    // SAFETY: the first processor set up the tables long ago.
    unsafe { descriptors::join() };
    let machine = MACHINE.load(Ordering::Acquire);
    // SAFETY: `prepare` stored it before anybody could come here, and it lives for ever.
    let machine = unsafe { &*machine };
    let Some(vector) = VECTORS.get(id as usize) else {
        wait_for_startup();
    };
    let room = machine.room.0 + u64::from(id) * ROOM;
    let (vmcb, save_area) = (room as *mut Vmcb, HostPhys(room + PAGE_SIZE));
    if !enable(save_area) {
        log!("processor {id}: SVM cannot be enabled; the guest does without it");
        wait_for_startup();
    }
    // SAFETY: the room is this processor's alone, and whatever ran on it before was stopped by INIT.
    let vmcb = unsafe {
        vmcb.write_bytes(0, 1);
        &mut *vmcb
    };
    setup::started(vmcb, machine, vector.load(Ordering::Acquire));
    wake(id);
    let signature = cpuid(1, 0).eax;
    let outcome = run::run(&mut Cpu::started(vmcb, machine, id, signature));
    defect::report();
    exit(outcome)
}
