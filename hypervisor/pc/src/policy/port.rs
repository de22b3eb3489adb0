//! Ports: all are passed through but those in the table, which could end the machine under the hypervisor or its guest.

/// What the guest wants of a port that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Let the access happen.
    Pass,
    /// Let the write happen, with this value.
    Instead(u32),
    /// Writes do nothing; reads answer all ones, like an empty bus.
    Absent,
    /// The guest asks for a reset of the machine.
    Reset,
    /// The guest asks for the machine to be switched off.
    PowerOff,
}

/// An access to a port.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    /// The first port.
    pub port: u16,
    /// Bytes: 1, 2 or 4.
    pub size: u8,
    /// What is written; `None` for a read.
    pub written: Option<u32>,
}

/// A port that is watched.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Which.
    pub port: u16,
    /// What it is, and why it is watched.
    pub why: &'static str,
}

const KEYBOARD_COMMAND: u16 = 0x64;
/// Commands that write the controller's output port, where A20 and the reset line are: D1h all of it, DDh A20 alone.
const WRITE_OUTPUT_PORT: u8 = 0xD1;
const DISABLE_A20: u8 = 0xDD;
/// Port 92h.
pub const SYSTEM_CONTROL: u16 = 0x92;
/// There and in the output port: addresses have their bit 20.
pub const A20: u8 = 1 << 1;
const EXITS: [u16; 4] = [0xF4, 0xF5, 0xF6, 0xF7];
/// The last of the ports that end an emulator.
pub const LAST_EXIT: u16 = EXITS[3];
const RESET_CONTROL: u16 = 0xCF9;
const BOCHS_SHUTDOWN: u16 = 0x8900;

/// The table: the ports of every machine. The ACPI port of [`PowerControl`] comes from the machine's own tables.
pub const RULES: &[Rule] = &[
    Rule {
        port: KEYBOARD_COMMAND,
        why: "keyboard controller: F0h to FFh with bit 0 clear pulse the reset line; D1h and DDh reach A20, and with it the hypervisor's memory",
    },
    Rule {
        port: SYSTEM_CONTROL,
        why: "bit 0 resets the processor; bit 1 is A20, and with it the hypervisor's memory",
    },
    Rule {
        port: EXITS[0],
        why: "an emulator's exit: the hypervisor alone says how it ended",
    },
    Rule {
        port: EXITS[1],
        why: "its second byte, which ends it as well",
    },
    Rule {
        port: EXITS[2],
        why: "its third",
    },
    Rule {
        port: EXITS[3],
        why: "its last",
    },
    Rule {
        port: RESET_CONTROL,
        why: "bit 2 resets the machine",
    },
    Rule {
        port: BOCHS_SHUTDOWN,
        why: "Bochs' exit",
    },
];

/// Where a sleep state is asked for: PM1a_CNT of the fixed ACPI hardware (ACPI 6.5, 4.8.3.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PowerControl {
    /// The port, 16 bits wide.
    pub port: u16,
    /// SLP_TYPa of \_S5, 3 bits.
    pub soft_off: u8,
}

impl PowerControl {
    /// SLP_EN.
    const ENABLE: u32 = 1 << 13;
    /// SLP_TYP, 3 bits from here.
    const TYPE_SHIFT: u32 = 10;

    /// The byte that holds both, and is watched.
    #[must_use]
    pub const fn watched(self) -> u16 {
        self.port + 1
    }

    /// What becomes of `value` in both bytes. In another state than S5 the machine would come back without a hypervisor,
    /// if at all: the guest may ask for one, and stays awake.
    const fn judge(self, value: u32) -> Verdict {
        if value & Self::ENABLE == 0 {
            Verdict::Pass
        } else if (value >> Self::TYPE_SHIFT & 7) as u8 == self.soft_off {
            Verdict::PowerOff
        } else {
            Verdict::Instead(value & !Self::ENABLE)
        }
    }
}

/// Decides on an access that touches a watched port. An access that is wider than its port is the port's all the same.
#[must_use]
pub fn judge(access: Access, power: Option<PowerControl>) -> Verdict {
    let touches = |port: u16| access.port <= port && port - access.port < access.size.into();
    // The byte that a port gets.
    let byte = |port: u16| {
        access
            .written
            .map(|value| (value >> (8 * (port - access.port)) & 0xFF) as u8)
    };
    if EXITS.into_iter().any(touches) || touches(BOCHS_SHUTDOWN) {
        return Verdict::Absent;
    }
    // 0CF8h to 0CFBh together are PCI's address register, not the reset control in their midst.
    let is_pci_address = access.port == 0xCF8 && access.size == 4;
    if touches(RESET_CONTROL) && !is_pci_address && byte(RESET_CONTROL).is_some_and(|value| value & 4 != 0) {
        return Verdict::Reset;
    }
    if touches(SYSTEM_CONTROL)
        && let (Some(value), Some(byte)) = (access.written, byte(SYSTEM_CONTROL))
    {
        if byte & 1 != 0 {
            return Verdict::Reset;
        }
        return Verdict::Instead(value | u32::from(A20) << (8 * (SYSTEM_CONTROL - access.port)));
    }
    if touches(KEYBOARD_COMMAND) {
        match byte(KEYBOARD_COMMAND) {
            Some(command) if command & 0xF1 == 0xF0 => return Verdict::Reset,
            Some(WRITE_OUTPUT_PORT | DISABLE_A20) => return Verdict::Absent,
            _ => {}
        }
    }
    match power.map(PowerControl::watched) {
        Some(watched) if touches(watched) => asks_for_sleep(access, power, watched),
        _ => Verdict::Pass,
    }
}

/// An access to the byte of PM1a_CNT that is watched, alone or with its neighbours.
fn asks_for_sleep(access: Access, power: Option<PowerControl>, watched: u16) -> Verdict {
    let (Some(power), Some(value)) = (power, access.written) else {
        return Verdict::Pass;
    };
    let shift = 8 * u32::from(watched - access.port);
    match power.judge((value >> shift & 0xFF) << 8) {
        Verdict::Instead(harmless) => Verdict::Instead(value & !(0xFF << shift) | harmless >> 8 << shift),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POWER: PowerControl = PowerControl {
        port: 0x604,
        soft_off: 0,
    };

    fn written(port: u16, size: u8, value: u32) -> Verdict {
        judge(
            Access {
                port,
                size,
                written: Some(value),
            },
            Some(POWER),
        )
    }

    fn read(port: u16, size: u8) -> Verdict {
        judge(
            Access {
                port,
                size,
                written: None,
            },
            Some(POWER),
        )
    }

    #[test]
    fn the_ways_to_reset() {
        assert_eq!(written(0x64, 1, 0xFE), Verdict::Reset);
        assert_eq!(written(0x64, 1, 0xF0), Verdict::Reset);
        assert_eq!(written(0x64, 1, 0xFF), Verdict::Pass); // pulses nothing
        assert_eq!(written(0x64, 1, 0xAD), Verdict::Pass);
        assert_eq!(written(0x63, 2, 0xFE00), Verdict::Reset);
        assert_eq!(written(0xCF9, 1, 0x06), Verdict::Reset);
        assert_eq!(written(0xCF9, 1, 0x02), Verdict::Pass);
        assert_eq!(written(0xCF8, 2, 0x0600), Verdict::Reset);
        assert_eq!(written(0x92, 1, 0x03), Verdict::Reset);
    }

    #[test]
    fn a20_stays_on() {
        assert_eq!(written(0x92, 1, 0x00), Verdict::Instead(0x02));
        assert_eq!(written(0x92, 1, 0x02), Verdict::Instead(0x02));
        assert_eq!(written(0x91, 2, 0x0055), Verdict::Instead(0x0255));
        assert_eq!(written(0x64, 1, 0xD1), Verdict::Absent);
        assert_eq!(written(0x64, 1, 0xDD), Verdict::Absent);
    }

    #[test]
    fn pci_addresses_are_no_reset() {
        assert_eq!(written(0xCF8, 4, 0x8000_0600), Verdict::Pass);
    }

    #[test]
    fn reads_reset_nothing() {
        for port in [0x64, 0x92, 0xCF9, 0x604] {
            assert_eq!(read(port, 1), Verdict::Pass);
        }
    }

    #[test]
    fn the_guest_falls_asleep_in_no_other_way() {
        assert_eq!(written(0x604, 2, 0x2401), Verdict::Instead(0x0401));
        assert_eq!(written(0x605, 1, 0x28), Verdict::Instead(0x08));
        assert_eq!(written(0x602, 4, 0x2C01_5678), Verdict::Instead(0x0C01_5678));
    }

    #[test]
    fn the_exit_ports_are_not_there() {
        for port in 0xF4..=0xF7 {
            assert_eq!(written(port, 1, 0), Verdict::Absent);
        }
        assert_eq!((read(0xF4, 1), written(0xF4, 1, 0x10), written(0xF1, 4, 0)), {
            (Verdict::Absent, Verdict::Absent, Verdict::Absent)
        });
        assert_eq!(written(0x8900, 1, 0x53), Verdict::Absent);
    }

    #[test]
    fn power_goes_off_when_enabled_with_the_right_type() {
        assert_eq!(written(0x604, 2, 0x2000), Verdict::PowerOff);
        assert_eq!(written(0x605, 1, 0x20), Verdict::PowerOff);
        assert_eq!(written(0x603, 4, 0x0020_0000), Verdict::PowerOff);
        assert_eq!(written(0x604, 1, 0x20), Verdict::Pass);
        assert_eq!(written(0x604, 2, 0), Verdict::Pass);
        let without = judge(
            Access {
                port: 0x604,
                size: 2,
                written: Some(0x2000),
            },
            None,
        );
        assert_eq!(without, Verdict::Pass);
    }
}
