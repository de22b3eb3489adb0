//! The devices that images rely on: debug port, serial port, clock, exit port, and the usual ways to reset a PC. All other
//! ports read as ones and swallow what is written. The interrupt controllers and the timer are the kernel's.

use crate::clock::{self, Clock};

const DEBUG: u16 = 0xE9;
const COM1: u16 = 0x3F8;
const COM1_LAST: u16 = COM1 + 7;
const EXIT: u16 = 0xF4;
const EXIT_LAST: u16 = EXIT + 3;
const KEYBOARD_COMMAND: u16 = 0x64;
const KEYBOARD_RESET: u8 = 0xFE;
const SYSTEM_CONTROL: u16 = 0x92;
const SYSTEM_RESET: u8 = 1;
const RESET_CONTROL: u16 = 0xCF9;
const RESET_CPU: u8 = 1 << 2;

/// The serial port's line of the interrupt controllers.
pub const SERIAL_LINE: u32 = 4;

/// Ports that KVM may collect writes to, rather than leave the guest for each of them.
pub const CONSOLES: [u64; 2] = [DEBUG as u64, COM1 as u64];

/// What a write to a port makes happen.
#[derive(Debug, PartialEq, Eq)]
pub enum Act {
    Exit(u8),
    Reset,
}

pub struct Devices {
    /// What was written to the debug port since it was last taken.
    pub debug: Vec<u8>,
    pub serial: Option<Serial>,
    /// Bytes written to either, in all.
    pub written: u64,
    clock: Clock,
}

impl Devices {
    pub fn new(serial: bool) -> Self {
        Self {
            debug: Vec::new(),
            serial: serial.then(Serial::default),
            written: 0,
            clock: Clock::default(),
        }
    }

    /// Whether the serial port wants an interrupt.
    pub fn serial_interrupts(&self) -> bool {
        self.serial.as_ref().is_some_and(Serial::interrupts)
    }

    pub fn read(&self, port: u16) -> u8 {
        match (port, &self.serial) {
            (DEBUG, _) => DEBUG as u8,
            (clock::DATA, _) => self.clock.read(),
            (COM1..=COM1_LAST, Some(serial)) => serial.read(port - COM1),
            _ => 0xFF,
        }
    }

    pub fn write(&mut self, port: u16, value: u8) -> Option<Act> {
        match (port, &mut self.serial) {
            (DEBUG, _) => {
                self.debug.push(value);
                self.written += 1;
            }
            (COM1..=COM1_LAST, Some(serial)) => self.written += u64::from(serial.write(port - COM1, value)),
            (clock::INDEX, _) => self.clock.select(value),
            (EXIT..=EXIT_LAST, _) => return Some(Act::Exit(value & 0x7F)),
            (KEYBOARD_COMMAND, _) if value == KEYBOARD_RESET => return Some(Act::Reset),
            (SYSTEM_CONTROL, _) if value & SYSTEM_RESET != 0 => return Some(Act::Reset),
            (RESET_CONTROL, _) if value & RESET_CPU != 0 => return Some(Act::Reset),
            _ => {}
        }
        None
    }
}

/// A 16550 that receives nothing and is always ready to send: while that interrupt is enabled, it is raised.
#[derive(Default)]
pub struct Serial {
    /// What was sent since it was last taken.
    pub sent: Vec<u8>,
    interrupt_enable: u8,
    fifo_control: u8,
    line_control: u8,
    modem_control: u8,
    scratch: u8,
    divisor: [u8; 2],
}

impl Serial {
    const DIVISOR_LATCH: u8 = 0x80;
    const FIFO_ENABLED: u8 = 1;
    const NO_INTERRUPT: u8 = 1;
    const SENDER_EMPTY_INTERRUPT: u8 = 2;
    const INTERRUPTS_GET_OUT: u8 = 8;
    const FIFOS_ARE_ON: u8 = 0xC0;
    const SENDER_EMPTY: u8 = 0x60;
    const CARRIER_AND_READY: u8 = 0xB0;

    fn latched(&self) -> bool {
        self.line_control & Self::DIVISOR_LATCH != 0
    }

    /// OUT2 of the modem control register lets the line through, as in every PC.
    fn interrupts(&self) -> bool {
        self.interrupt_enable & Self::SENDER_EMPTY_INTERRUPT != 0 && self.modem_control & Self::INTERRUPTS_GET_OUT != 0
    }

    fn identification(&self) -> u8 {
        match self.interrupt_enable & Self::SENDER_EMPTY_INTERRUPT {
            0 => Self::NO_INTERRUPT,
            raised => raised,
        }
    }

    fn read(&self, register: u16) -> u8 {
        match register {
            0 | 1 if self.latched() => self.divisor[usize::from(register)],
            0 => 0,
            1 => self.interrupt_enable,
            2 if self.fifo_control & Self::FIFO_ENABLED != 0 => self.identification() | Self::FIFOS_ARE_ON,
            2 => self.identification(),
            3 => self.line_control,
            4 => self.modem_control,
            5 => Self::SENDER_EMPTY,
            6 => Self::CARRIER_AND_READY,
            _ => self.scratch,
        }
    }

    /// Whether a character was sent.
    fn write(&mut self, register: u16, value: u8) -> bool {
        match register {
            0 | 1 if self.latched() => self.divisor[usize::from(register)] = value,
            0 => {
                self.sent.push(value);
                return true;
            }
            1 => self.interrupt_enable = value & 0x0F,
            2 => self.fifo_control = value,
            3 => self.line_control = value,
            4 => self.modem_control = value & 0x1F,
            7 => self.scratch = value,
            _ => {}
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_debug_port_says_its_number_and_keeps_what_is_written() {
        let mut devices = Devices::new(false);
        assert_eq!(devices.read(0xE9), 0xE9);
        assert_eq!(devices.write(0xE9, b'x'), None);
        assert_eq!(devices.debug, b"x");
        assert_eq!(devices.written, 1);
    }

    #[test]
    fn the_serial_port_is_set_up_and_sends() {
        let mut devices = Devices::new(true);
        for (register, value) in [
            (7, 0xA5),
            (3, 0x80),
            (0, 1),
            (1, 0),
            (3, 3),
            (2, 7),
            (0, b'h'),
            (0, b'i'),
        ] {
            assert_eq!(devices.write(0x3F8 + register, value), None);
        }
        assert_eq!(devices.read(0x3FF), 0xA5);
        assert_eq!(devices.read(0x3FD), 0x60);
        assert_eq!(devices.read(0x3FA), 0xC1);
        assert_eq!(devices.serial.expect("there is one").sent, b"hi");
        assert_eq!(devices.written, 2);
    }

    #[test]
    fn the_serial_port_asks_for_more_while_that_is_enabled() {
        let mut devices = Devices::new(true);
        devices.write(0x3F9, 2);
        assert!(!devices.serial_interrupts(), "OUT2 is not set");
        assert_eq!(devices.read(0x3FA), 2);
        devices.write(0x3FC, 8);
        assert!(devices.serial_interrupts());
        devices.write(0x3F9, 0);
        assert!(!devices.serial_interrupts());
        assert_eq!(devices.read(0x3FA), 1);
    }

    #[test]
    fn without_a_serial_port_its_ports_float() {
        let mut devices = Devices::new(false);
        assert_eq!(devices.write(0x3FF, 0xA5), None);
        assert_eq!(devices.read(0x3FF), 0xFF);
    }

    #[test]
    fn ports_end_the_machine() {
        let mut devices = Devices::new(false);
        assert_eq!(devices.write(0xF4, 0x90), Some(Act::Exit(0x10)));
        assert_eq!(devices.write(0x64, 0xFE), Some(Act::Reset));
        assert_eq!(devices.write(0xCF9, 6), Some(Act::Reset));
        assert_eq!(devices.write(0x92, 2), None);
        assert_eq!(devices.read(0x61), 0xFF);
    }
}
