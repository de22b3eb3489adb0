//! The two interrupt controllers of the PC: masked, and moved away from the exception vectors.
//!
//! RFLAGS.IF stays 0 for ever, so this is only for the spurious interrupt that a mistake would let in: it must not look
//! like a double fault.

use x86_64::instructions::port::Port;

const MASTER_COMMAND: u16 = 0x20;
const MASTER_DATA: u16 = 0x21;
const SLAVE_COMMAND: u16 = 0xA0;
const SLAVE_DATA: u16 = 0xA1;

const INITIALISE_WITH_ICW4: u8 = 0x11;
const MASTER_VECTOR: u8 = 0x20;
const SLAVE_VECTOR: u8 = 0x28;
const SLAVE_ON_LINE_2: u8 = 1 << 2;
const SLAVE_IDENTITY: u8 = 2;
const MODE_8086: u8 = 1;
const MASK_ALL: u8 = 0xFF;

/// Initialises both, with every line masked and nothing in service.
pub fn initialise() {
    for (port, value) in [
        (MASTER_COMMAND, INITIALISE_WITH_ICW4),
        (SLAVE_COMMAND, INITIALISE_WITH_ICW4),
        (MASTER_DATA, MASTER_VECTOR),
        (SLAVE_DATA, SLAVE_VECTOR),
        (MASTER_DATA, SLAVE_ON_LINE_2),
        (SLAVE_DATA, SLAVE_IDENTITY),
        (MASTER_DATA, MODE_8086),
        (SLAVE_DATA, MODE_8086),
        (MASTER_DATA, MASK_ALL),
        (SLAVE_DATA, MASK_ALL),
    ] {
        // SAFETY: these ports reach the interrupt controllers only; masking them takes nothing from anybody.
        unsafe { Port::new(port).write(value) }
    }
}
