//! Memory to fill before a program, and memory to compare after its steps.

use core::ops::Range;

use crate::Why;
use crate::bytes::{u32_at, u64_at};

/// Where regions may lie below 1 MiB: for code in real mode and virtual-8086 mode.
pub const LOW_SCRATCH: Range<u64> = 0x1_0000..0x8_0000;
/// Where regions may lie above the image.
pub const HIGH_SCRATCH: Range<u64> = 0x0100_0000..0x0200_0000;
/// How much RAM there is at least.
pub const RAM_SIZE: u64 = 64 << 20;
/// Bytes that one program may watch, in all its watches together.
pub const MAX_WATCHED: u32 = 1 << 20;

/// Memory that becomes `bytes`, then zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region<'a> {
    /// Physical address.
    pub address: u64,
    /// Size in memory.
    pub size: u32,
    /// At most `size`.
    pub bytes: &'a [u8],
}

impl<'a> Region<'a> {
    pub(crate) const RECORD: usize = 24;

    /// Reads the regions that stand one after the other in `records`; their bytes are in `batch`.
    pub(crate) fn all(records: &'a [u8], batch: &'a [u8]) -> impl Iterator<Item = Result<Self, Why>> + use<'a> {
        let records = records.chunks_exact(Self::RECORD);
        (0..).zip(records).map(|(n, record)| Self::read(n, record, batch))
    }

    fn read(n: u32, record: &[u8], batch: &'a [u8]) -> Result<Self, Why> {
        let (address, size) = (u64_at(record, 0), u32_at(record, 8));
        let (length, offset) = (u32_at(record, 12), u32_at(record, 16) as usize);
        if u32_at(record, 20) != 0 {
            return Err(Why::Unknown(u32_at(record, 20)));
        }
        let bytes = batch.get(offset..).and_then(|rest| rest.get(..length as usize));
        let bytes = bytes.filter(|_| length <= size).ok_or(Why::RegionSource(n))?;
        if inside(&LOW_SCRATCH, address, size) || inside(&HIGH_SCRATCH, address, size) {
            Ok(Self { address, size, bytes })
        } else {
            Err(Why::RegionTarget(n))
        }
    }
}

/// Memory of which every change is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch {
    /// Physical address, a multiple of 8.
    pub address: u64,
    /// Bytes, a multiple of 8.
    pub size: u32,
}

impl Watch {
    pub(crate) const RECORD: usize = 16;

    pub(crate) fn all(records: &[u8]) -> impl Iterator<Item = Result<Self, Why>> + use<'_> {
        let records = records.chunks_exact(Self::RECORD);
        (0..).zip(records).map(|(n, record)| Self::read(n, record))
    }

    fn read(n: u32, record: &[u8]) -> Result<Self, Why> {
        let (address, size) = (u64_at(record, 0), u32_at(record, 8));
        if u32_at(record, 12) != 0 {
            return Err(Why::Unknown(u32_at(record, 12)));
        }
        if address % 8 != 0 || size % 8 != 0 || !inside(&(0..RAM_SIZE), address, size) {
            return Err(Why::Watch(n));
        }
        Ok(Self { address, size })
    }
}

fn inside(range: &Range<u64>, address: u64, size: u32) -> bool {
    address >= range.start && address.checked_add(size.into()).is_some_and(|end| end <= range.end)
}
