//! A clock that ticks by interrupts: channel 0 of the PC's interval timer (8254), by line 0 of its interrupt controller.
//!
//! RFLAGS.IF is 0 in an image, so ticks are taken only where somebody lets them in: in [`wait`], or while a guest runs.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use x86_64::instructions::interrupts;
use x86_64::instructions::port::Port;

use crate::pic;

/// Milliseconds from one tick to the next. Far more than a world switch takes on any engine, so whoever runs between two
/// ticks gets somewhere.
pub const TICK: u64 = 10;

const FREQUENCY: u64 = 1_193_182;
const DIVISOR: u16 = (FREQUENCY * TICK / 1000) as u16;

const CHANNEL_0: u16 = 0x40;
const COMMAND: u16 = 0x43;
/// Channel 0, both bytes of the divisor, mode 2 (rate generator), binary.
const RATE_GENERATOR: u8 = 0b0011_0100;

const LINE: u8 = 0;

static RUNNING: AtomicBool = AtomicBool::new(false);
static TICKS: AtomicU64 = AtomicU64::new(0);

/// Lets the clock run, or stops it.
pub fn run(on: bool) {
    if RUNNING.swap(on, Ordering::Relaxed) == on {
        return;
    }
    if on {
        let [low, high] = DIVISOR.to_le_bytes();
        // SAFETY: these ports reach channel 0 of the timer only, and nobody else uses it.
        unsafe {
            Port::new(COMMAND).write(RATE_GENERATOR);
            Port::new(CHANNEL_0).write(low);
            Port::new(CHANNEL_0).write(high);
        }
    }
    pic::set_masked(LINE, !on);
}

/// Whether the clock runs.
pub fn runs() -> bool {
    RUNNING.load(Ordering::Relaxed)
}

/// How many ticks were taken. The clock stands while it does not run.
pub fn ticks() -> u64 {
    TICKS.load(Ordering::Relaxed)
}

/// Takes the tick that is due, if one is. For who must not halt, since there may be no such timer.
pub fn poll() {
    interrupts::enable();
    // STI's shadow reaches over one instruction.
    x86_64::instructions::nop();
    interrupts::disable();
}

/// Halts the processor until something interrupts it: the next tick at the latest, for the clock must run.
pub fn wait() {
    debug_assert!(runs());
    // STI's shadow reaches over HLT: no tick can come between them.
    interrupts::enable_and_hlt();
    interrupts::disable();
}

/// Takes an interrupt if it is the clock's, or one that its line left behind.
pub(crate) fn interrupted(vector: u64) -> bool {
    if !runs() {
        return false;
    }
    match pic::line(vector) {
        Some(LINE) => {
            TICKS.fetch_add(1, Ordering::Relaxed);
            pic::end_of_interrupt();
            true
        }
        Some(pic::SPURIOUS_LINE) => true,
        _ => false,
    }
}
