//! The two interrupt controllers of the PC: masked, and moved away from the exception vectors, so that an interrupt which
//! a mistake lets in does not look like a double fault. One line may be let through: the clock's ([`crate::timer`]).

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
const END_OF_INTERRUPT: u8 = 0x20;

/// The line that an interrupt seems to come from when the line that asked for it took that back.
pub const SPURIOUS_LINE: u8 = 7;

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

/// The first controller's line that has this vector, if it is one of its.
pub(crate) fn line(vector: u64) -> Option<u8> {
    (u64::from(MASTER_VECTOR)..u64::from(SLAVE_VECTOR))
        .contains(&vector)
        .then(|| vector as u8 - MASTER_VECTOR)
}

/// Keeps interrupts of one line of the first controller away, or lets them through. All others stay masked.
pub(crate) fn set_masked(line: u8, masked: bool) {
    let mask = if masked { MASK_ALL } else { MASK_ALL & !(1 << line) };
    // SAFETY: the port reaches the interrupt controller only.
    unsafe { Port::new(MASTER_DATA).write(mask) }
}

/// The interrupt in service at the first controller has been served.
pub(crate) fn end_of_interrupt() {
    // SAFETY: as above.
    unsafe { Port::new(MASTER_COMMAND).write(END_OF_INTERRUPT) }
}
