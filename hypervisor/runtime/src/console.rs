//! The console: everything goes to port E9h (QEMU's and Bochs' debug console) and to COM1, whichever are there.
//!
//! Records are numbered here; lines for people are written by [`log!`](crate::log).

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use x86_64::instructions::port::Port;

use crate::record::{Line, Record};

const DEBUG_PORT: u16 = 0xE9;
const COM1: u16 = 0x3F8;
/// Lines for people start so: docs/protocol.md.
const LOG_PREFIX: &str = "[svmconf] ";

static DEBUG_PRESENT: AtomicBool = AtomicBool::new(false);
static SERIAL_PRESENT: AtomicBool = AtomicBool::new(false);
static SEQUENCE: AtomicU32 = AtomicU32::new(0);

/// Finds out which of the two devices exist, and sets COM1 to 115200 8N1.
pub(crate) fn initialise() {
    // A debug console answers a read with its own number; where there is none, the bus floats.
    DEBUG_PRESENT.store(read(DEBUG_PORT) == DEBUG_PORT as u8, Ordering::Relaxed);
    SERIAL_PRESENT.store(serial::initialise(), Ordering::Relaxed);
}

/// Sends bytes as they are.
pub fn write_bytes(bytes: &[u8]) {
    if DEBUG_PRESENT.load(Ordering::Relaxed) {
        bytes.iter().for_each(|&byte| write(DEBUG_PORT, byte));
    }
    if SERIAL_PRESENT.load(Ordering::Relaxed) {
        bytes.iter().for_each(|&byte| serial::send(byte));
    }
}

impl Record {
    /// Numbers the record and sends it.
    pub fn emit(self) {
        let sequence = SEQUENCE.fetch_add(1, Ordering::Relaxed) + 1;
        write_bytes(self.line(sequence).bytes());
    }
}

/// Writes one line for people, cut at 256 characters; use [`log!`](crate::log).
pub fn log_line(arguments: fmt::Arguments) {
    let mut line = Line::<256>::new();
    let _ = line.write_fmt(arguments);
    write_bytes(LOG_PREFIX.as_bytes());
    write_bytes(line.bytes());
    write_bytes(b"\n");
}

/// Writes one line for people to the console.
#[macro_export]
macro_rules! log {
    ($($argument:tt)*) => {
        $crate::console::log_line(format_args!($($argument)*))
    };
}

fn read(port: u16) -> u8 {
    // SAFETY: only this module's ports are read, and reading them has no effect on memory.
    unsafe { Port::new(port).read() }
}

fn write(port: u16, value: u8) {
    // SAFETY: only this module's ports are written: character devices that do not touch memory.
    unsafe { Port::new(port).write(value) }
}

/// The 16550 at COM1. Sending never waits for ever: a device that does not get ready loses characters, no more.
mod serial {
    use super::{COM1, read, write};

    const DATA: u16 = COM1;
    const INTERRUPT_ENABLE: u16 = COM1 + 1;
    const FIFO_CONTROL: u16 = COM1 + 2;
    const LINE_CONTROL: u16 = COM1 + 3;
    const MODEM_CONTROL: u16 = COM1 + 4;
    const LINE_STATUS: u16 = COM1 + 5;
    const SCRATCH: u16 = COM1 + 7;

    const DIVISOR_LATCH: u8 = 0x80;
    const EIGHT_BITS_NO_PARITY: u8 = 0x03;
    const DIVISOR_115200: u8 = 1;
    const FIFO_ON_AND_EMPTY: u8 = 0x07;
    const DTR_AND_RTS: u8 = 0x03;
    const TRANSMITTER_EMPTY: u8 = 0x20;
    /// Longer than one character takes at 115200 baud on any machine.
    const PATIENCE: u32 = 100_000;

    /// Whether there is a UART; if so it is set up.
    pub fn initialise() -> bool {
        const PATTERN: u8 = 0xA5;
        write(SCRATCH, PATTERN);
        if read(SCRATCH) != PATTERN {
            return false;
        }
        for (register, value) in [
            (INTERRUPT_ENABLE, 0),
            (LINE_CONTROL, DIVISOR_LATCH),
            (DATA, DIVISOR_115200),
            (INTERRUPT_ENABLE, 0),
            (LINE_CONTROL, EIGHT_BITS_NO_PARITY),
            (FIFO_CONTROL, FIFO_ON_AND_EMPTY),
            (MODEM_CONTROL, DTR_AND_RTS),
        ] {
            write(register, value);
        }
        true
    }

    pub fn send(byte: u8) {
        for _ in 0..PATIENCE {
            if read(LINE_STATUS) & TRANSMITTER_EMPTY != 0 {
                break;
            }
        }
        write(DATA, byte);
    }
}
