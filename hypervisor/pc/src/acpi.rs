//! Where the machine is switched off: the port and the value, from the ACPI tables that the firmware left (ACPI 6.5, 5.2).
//!
//! Only what is needed: RSDP, RSDT, FADT, and in the DSDT the name \_S5, which is searched for by its bytes, because
//! nothing here interprets AML.

use crate::policy::port::PowerControl;

/// Physical memory, a byte at a time; `None` where it cannot be read.
pub trait Memory: Fn(u64) -> Option<u8> {}
impl<F: Fn(u64) -> Option<u8>> Memory for F {}

const RSDP_SIGNATURE: &[u8; 8] = b"RSD PTR ";
const RSDP_LENGTH: u64 = 20;
const RSDP_STEP: u64 = 16;
/// Where the BIOS writes its extended data area's segment.
const EBDA_SEGMENT: u64 = 0x40E;
const BIOS: core::ops::Range<u64> = 0xE_0000..0x10_0000;
/// Of every table: signature, length, ...
const TABLE_HEADER: u64 = 36;
/// A table longer than this is none.
const LONGEST_TABLE: u32 = 1 << 20;

/// Finds out how the machine is switched off. `rsdp` is where the loader says the tables begin, 0 to search.
pub fn power_control(memory: impl Memory, rsdp: u64) -> Option<PowerControl> {
    let rsdp = if rsdp != 0 { rsdp } else { find_rsdp(&memory)? };
    let rsdt = table(&memory, long(&memory, rsdp + 16)?.into(), b"RSDT")?;
    let fadt = (rsdt.0 + TABLE_HEADER..rsdt.1)
        .step_by(4)
        .find_map(|entry| table(&memory, long(&memory, entry)?.into(), b"FACP"))?;
    let port = u16::try_from(long(&memory, fadt.0 + 64)?)
        .ok()
        .filter(|&port| port != 0)?;
    let dsdt = table(&memory, long(&memory, fadt.0 + 40)?.into(), b"DSDT")?;
    Some(PowerControl {
        port,
        soft_off: (dsdt.0 + TABLE_HEADER..dsdt.1).find_map(|at| soft_off(&memory, at))?,
    })
}

fn find_rsdp(memory: &impl Memory) -> Option<u64> {
    const EBDA_SEARCHED: u64 = 1024;
    let segment = u64::from(memory(EBDA_SEGMENT)?) | u64::from(memory(EBDA_SEGMENT + 1)?) << 8;
    let ebda = segment << 4;
    let searched = (ebda..ebda + EBDA_SEARCHED).step_by(RSDP_STEP as usize);
    let searched = searched.filter(|_| ebda != 0).chain(BIOS.step_by(RSDP_STEP as usize));
    searched.into_iter().find(|&at| {
        let sum = (at..at + RSDP_LENGTH)
            .map(|byte| memory(byte).unwrap_or(0))
            .fold(0, u8::wrapping_add);
        is(memory, at, RSDP_SIGNATURE) && sum == 0
    })
}

/// Start and end of the table at `address`, if it has this signature.
fn table(memory: &impl Memory, address: u64, signature: &[u8; 4]) -> Option<(u64, u64)> {
    let length = long(memory, address + 4)?;
    (is(memory, address, signature) && length <= LONGEST_TABLE).then(|| (address, address + u64::from(length)))
}

/// The first element of the package `Name (\_S5, Package () {...})` whose name stands at `at`.
fn soft_off(memory: &impl Memory, at: u64) -> Option<u8> {
    const PACKAGE: u8 = 0x12;
    const BYTE: u8 = 0x0A;
    const ZERO: u8 = 0;
    const ONE: u8 = 1;
    if !is(memory, at, b"_S5_") || memory(at + 4)? != PACKAGE {
        return None;
    }
    // The package's length takes as many bytes more as bits 7:6 of its first say; then the number of elements.
    let element = at + 5 + u64::from(memory(at + 5)? >> 6) + 2;
    match memory(element)? {
        BYTE => memory(element + 1),
        constant @ (ZERO | ONE) => Some(constant),
        _ => None,
    }
}

fn is(memory: &impl Memory, at: u64, bytes: &[u8]) -> bool {
    bytes
        .iter()
        .zip(at..)
        .all(|(&byte, address)| memory(address) == Some(byte))
}

fn long(memory: &impl Memory, at: u64) -> Option<u32> {
    let byte = |offset| memory(at.checked_add(offset)?);
    Some(u32::from_le_bytes([byte(0)?, byte(1)?, byte(2)?, byte(3)?]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RSDT: u64 = 0x1000;
    const FADT: u64 = 0x2000;
    const DSDT: u64 = 0x3000;

    struct Machine(Vec<u8>);

    impl Machine {
        /// With tables as QEMU's: PM1a_CNT at 604h, \_S5 is Package (4) { 0x05, ... }.
        fn new(rsdp: u64) -> Self {
            let mut machine = Self(vec![0; 0x10_0000]);
            machine.put(rsdp, RSDP_SIGNATURE);
            machine.put(rsdp + 16, &(RSDT as u32).to_le_bytes());
            let sum = machine.0[rsdp as usize..][..20]
                .iter()
                .fold(0, |sum: u8, &byte| sum.wrapping_add(byte));
            machine.put(rsdp + 8, &[0u8.wrapping_sub(sum)]);
            machine.table(RSDT, b"RSDT", 44);
            machine.put(RSDT + 36, &(DSDT as u32).to_le_bytes());
            machine.put(RSDT + 40, &(FADT as u32).to_le_bytes());
            machine.table(FADT, b"FACP", 116);
            machine.put(FADT + 40, &(DSDT as u32).to_le_bytes());
            machine.put(FADT + 64, &0x604u32.to_le_bytes());
            machine.table(DSDT, b"DSDT", 0x100);
            machine.put(DSDT + 60, b"\x08_S5_\x12\x06\x04\x0A\x05\x00\x00\x00");
            machine
        }

        fn put(&mut self, at: u64, bytes: &[u8]) {
            self.0[at as usize..][..bytes.len()].copy_from_slice(bytes);
        }

        fn table(&mut self, at: u64, signature: &[u8; 4], length: u32) {
            self.put(at, signature);
            self.put(at + 4, &length.to_le_bytes());
        }

        fn ask(&self, rsdp: u64) -> Option<PowerControl> {
            power_control(|address| self.0.get(usize::try_from(address).ok()?).copied(), rsdp)
        }
    }

    const EXPECTED: Option<PowerControl> = Some(PowerControl {
        port: 0x604,
        soft_off: 5,
    });

    #[test]
    fn tables_are_found_where_the_bios_puts_them() {
        assert_eq!(Machine::new(0xF_5AD0).ask(0), EXPECTED);
        let mut ebda = Machine::new(0x9_FC20);
        assert_eq!(ebda.ask(0), None);
        ebda.put(EBDA_SEGMENT, &0x9FC0u16.to_le_bytes());
        assert_eq!(ebda.ask(0), EXPECTED);
        assert_eq!(Machine::new(0x4567).ask(0x4567), EXPECTED);
    }

    #[test]
    fn constants_have_opcodes_of_their_own() {
        let mut machine = Machine::new(0xF_0000);
        machine.put(DSDT + 65, b"\x12\x40\x06\x04\x01\x00");
        assert_eq!(machine.ask(0).map(|power| power.soft_off), Some(1));
        machine.put(DSDT + 65, b"\x12\x06\x04\x0B\x00\x00");
        assert_eq!(machine.ask(0), None);
    }

    #[test]
    fn what_is_not_there_is_not_made_up() {
        let spoilt = |at: u64, byte: u8| {
            let mut machine = Machine::new(0xF_0000);
            machine.put(at, &[byte]);
            machine.ask(0)
        };
        assert_eq!(spoilt(0xF_0009, 1), None); // RSDP's sum
        assert_eq!(spoilt(RSDT, b'X'), None);
        assert_eq!(spoilt(FADT, b'X'), None);
        assert_eq!(spoilt(DSDT, b'X'), None);
        assert_eq!(spoilt(DSDT + 61, b'X'), None);
        assert_eq!(spoilt(FADT + 66, 1), None); // no port
        assert_eq!(Machine(vec![0; 0x10_0000]).ask(0), None);
        assert_eq!(Machine(Vec::new()).ask(0), None);
    }
}
