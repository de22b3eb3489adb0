//! The format from outside: well-formed batches come back, every other input is refused with a reason.

mod batch;
mod changes;
mod golden;
mod recorder;

/// A batch under construction, as the harness would make one. Fields are public so that a test can spoil them.
pub struct Draft {
    pub header: Vec<u8>,
    pub records: Vec<u8>,
}

impl Draft {
    /// One program with these regions, watches and steps; the regions' bytes are the batch's first ones.
    pub fn new(regions: &[(u64, u32, u32, u32)], watches: &[(u64, u32)], steps: &[Vec<u8>]) -> Self {
        let mut record = Vec::new();
        record.extend(
            [regions.len() as u16, watches.len() as u16, steps.len() as u16, 0]
                .map(u16::to_le_bytes)
                .concat(),
        );
        record.extend(0x1234u32.to_le_bytes());
        for (address, size, length, offset) in regions {
            record.extend(address.to_le_bytes());
            record.extend([*size, *length, *offset, 0].map(u32::to_le_bytes).concat());
        }
        for (address, size) in watches {
            record.extend(address.to_le_bytes());
            record.extend([*size, 0].map(u32::to_le_bytes).concat());
        }
        record.extend(steps.concat());
        let mut records = (record.len() as u32 + 4).to_le_bytes().to_vec();
        records.extend(record);
        let mut header = crate::EMPTY.to_vec();
        header[8..12].copy_from_slice(&(40 + records.len() as u32).to_le_bytes());
        header[12] = 1;
        Self { header, records }
    }

    pub fn bytes(&self) -> Vec<u8> {
        [&self.header[..], &self.records].concat()
    }
}

/// The record of a step; `given` are the bytes between its head and its code.
pub fn step(mode: u8, cpl: u8, flags: u32, given: &[u8], code: &[u8]) -> Vec<u8> {
    let mut rest = [given, code].concat();
    rest.resize(rest.len().next_multiple_of(8), 0);
    let mut record = (16 + rest.len() as u32).to_le_bytes().to_vec();
    record.extend([mode, cpl]);
    record.extend((code.len() as u16).to_le_bytes());
    record.extend(flags.to_le_bytes());
    record.extend([0; 4]);
    record.extend(rest);
    record
}
