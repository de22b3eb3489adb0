//! The second processor of a machine, for small guests that move: it executes the world switch when it is told to, and
//! nothing else. So at any time one processor runs a guest or its handlers, and the other waits.
//!
//! It has its own host save area, page for VMSAVE of the host, and stack. DR0 to DR3, which no VMCB holds, are handed over
//! with the guest, and back.

use core::hint::spin_loop;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use runtime::fixup::Fault;
use runtime::{descriptors, log, timer};
use svm::addr::{HostPhys, PAGE_SIZE};

use crate::memory::SECOND_PROCESSOR;
use crate::startup::{self, wait_for_startup};
use crate::turns::{breakpoints, set_breakpoints};
use crate::world::{self, Registers};

/// Where it starts: below 1 MiB, above what firmware keeps there, and nothing of ours.
const STARTUP_PAGE: HostPhys = HostPhys(0x8000);
/// Its APIC id.
const ID: u32 = 1;
/// For each processor: its host save area, its page for VMSAVE, and its stack.
const ROOM: u64 = 0x1_0000;
/// All that may come while there is no task state segment: exceptions, the NMI among them.
const EXCEPTIONS: core::ops::Range<u8> = 0..32;

/// What it does now.
static STATE: AtomicU32 = AtomicU32::new(ABSENT);
const ABSENT: u32 = 0;
/// It waits to be told.
const READY: u32 = 1;
/// It has been told, and runs the guest.
const RUNS: u32 = 2;

// What it is told, and answers; whoever stores STATE makes them the other's.
static REGISTERS: AtomicPtr<Registers> = AtomicPtr::new(core::ptr::null_mut());
static VMCB: AtomicU64 = AtomicU64::new(0);
static BREAKPOINTS: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];
/// As [`world::result`] reads it.
static ANSWER: AtomicU64 = AtomicU64::new(0);

/// Starts it: true if there is one, and it has SVM enabled.
///
/// # Safety
/// Called once, by the first processor, with SVM enabled and before anybody runs.
pub unsafe fn start() -> bool {
    for vector in EXCEPTIONS {
        descriptors::keep_stack(vector);
    }
    // SAFETY: the page is conventional memory that nobody uses, since the loader's information was copied, and the room is
    // set aside.
    unsafe { startup::prepare(STARTUP_PAGE, SECOND_PROCESSOR, ROOM, arrived) };
    apic::send(apic::INIT);
    wait_ticks(2);
    // The second is for processors that missed the first; who runs already ignores it (APM vol. 2, 16.5).
    for _ in 0..2 {
        apic::send(apic::STARTUP | (STARTUP_PAGE.0 / PAGE_SIZE) as u32);
        if wait_ticks(5) {
            return true;
        }
    }
    log!("there is no second processor: the guest stays on the first");
    false
}

/// Waits until it is there; false when so many ticks of the clock have passed, or would have if there were one.
fn wait_ticks(count: u64) -> bool {
    const POLLS_A_TICK: u64 = 2_000_000;
    timer::run(true);
    let end = timer::ticks() + count;
    for _ in 0..count * POLLS_A_TICK {
        if STATE.load(Ordering::Acquire) != ABSENT || timer::ticks() >= end {
            break;
        }
        timer::poll();
        spin_loop();
    }
    timer::run(false);
    STATE.load(Ordering::Acquire) == READY
}

/// As [`world::enter`], on the second processor. Nothing interrupts the guest there.
///
/// # Safety
/// As there; [`start`] returned true.
pub unsafe fn enter(registers: &mut Registers, vmcb: HostPhys) -> Result<(), Fault> {
    REGISTERS.store(registers, Ordering::Relaxed);
    VMCB.store(vmcb.0, Ordering::Relaxed);
    hand_over(breakpoints());
    STATE.store(RUNS, Ordering::Release);
    while STATE.load(Ordering::Acquire) != READY {
        spin_loop();
    }
    set_breakpoints(handed_over());
    world::result(ANSWER.load(Ordering::Relaxed))
}

/// Where it goes on when it has been started.
extern "sysv64" fn arrived(id: u32) -> ! {
    let room = SECOND_PROCESSOR.0 + u64::from(id) * ROOM;
    let (save_area, host_vmcb) = (HostPhys(room), HostPhys(room + PAGE_SIZE));
    // SAFETY: the first processor set up the tables long ago, and called `keep_stack` for all that may come.
    unsafe { descriptors::join() };
    if id != ID || !startup::enable(save_area) {
        wait_for_startup();
    }
    STATE.store(READY, Ordering::Release);
    loop {
        while STATE.load(Ordering::Acquire) != RUNS {
            spin_loop();
        }
        set_breakpoints(handed_over());
        let (registers, vmcb) = (REGISTERS.load(Ordering::Relaxed), VMCB.load(Ordering::Relaxed));
        // SAFETY: SVM is enabled here; the first processor answers for the guest, and waits until we are ready again.
        let result = unsafe { world::enter(&mut *registers, HostPhys(vmcb), host_vmcb, false) };
        let answer = result.map_or_else(|fault| u64::from(fault.error) << 32 | u64::from(fault.vector), |()| 0);
        ANSWER.store(answer, Ordering::Relaxed);
        hand_over(breakpoints());
        STATE.store(READY, Ordering::Release);
    }
}

fn hand_over(breakpoints: [u64; 4]) {
    for (slot, value) in BREAKPOINTS.iter().zip(breakpoints) {
        slot.store(value, Ordering::Relaxed);
    }
}

fn handed_over() -> [u64; 4] {
    [0, 1, 2, 3].map(|number: usize| BREAKPOINTS[number].load(Ordering::Relaxed))
}

/// The first processor's local APIC, as far as it sends commands (APM vol. 2, 16.5).
mod apic {
    const COMMAND_LOW: *mut u32 = 0xFEE0_0300 as *mut u32;
    const COMMAND_HIGH: *mut u32 = 0xFEE0_0310 as *mut u32;
    const TARGET_SHIFT: u32 = 24;
    const ASSERT: u32 = 1 << 14;
    const PENDING: u32 = 1 << 12;
    /// A command is on its way in far less.
    const TRIES: u32 = 10_000;

    /// Message type 5.
    pub const INIT: u32 = 5 << 8;
    /// Message type 6; the vector is the number of a page.
    pub const STARTUP: u32 = 6 << 8;

    /// Sends a command to the second processor.
    pub fn send(command: u32) {
        // SAFETY: the registers are where they are after reset, nobody else uses them, and linear is physical. Where there is
        // no APIC all bits read 1 and nobody starts.
        unsafe {
            for _ in 0..TRIES {
                if COMMAND_LOW.read_volatile() & PENDING == 0 {
                    break;
                }
                core::hint::spin_loop();
            }
            COMMAND_HIGH.write_volatile(super::ID << TARGET_SHIFT);
            COMMAND_LOW.write_volatile(command | ASSERT);
        }
    }
}
