//! What the harness puts into the image: programs, and memory that they share.

use crate::bytes::{u16_at, u32_at};
use crate::{Bad, Program, Region, Why};

/// Bytes in front of the first record.
pub const HEADER_SIZE: usize = 40;
/// Bytes that a batch may have; above it in memory begins what is not in the file.
pub const MAX_SIZE: usize = 10 << 20;

const MAGIC: &[u8; 4] = b"SVMP";
const VERSION: u16 = 2;
const SPREAD: u32 = 1 << 0;

/// What the image holds until the harness gives it something to do: a batch without programs.
pub const EMPTY: [u8; HEADER_SIZE] = {
    let mut bytes = [0; HEADER_SIZE];
    [bytes[0], bytes[1], bytes[2], bytes[3]] = *MAGIC;
    [bytes[4], bytes[5]] = VERSION.to_le_bytes();
    bytes[8] = HEADER_SIZE as u8;
    bytes[24] = HEADER_SIZE as u8;
    bytes[28] = HEADER_SIZE as u8;
    bytes
};

/// A batch that was found to be well-formed.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// How much of the results may be used, in bytes; 0 for all.
    pub results_limit: u32,
    /// Step code need not be at one address.
    pub spread: bool,
    bytes: &'a [u8],
    first: u32,
    count: u32,
    shared: &'a [u8],
    programs: &'a [u8],
}

impl<'a> Batch<'a> {
    /// Reads a batch: every region, watch and step of every program is checked.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse(memory: &'a [u8]) -> Result<Self, Bad> {
        let header = memory.get(..HEADER_SIZE).ok_or(Why::Magic)?;
        if !header.starts_with(MAGIC) {
            return Err(Why::Magic.into());
        }
        if u16_at(header, 4) != VERSION {
            return Err(Why::Version(u16_at(header, 4)).into());
        }
        let flags = u32::from(u16_at(header, 6));
        let unknown = flags & !SPREAD | u32_at(header, 36);
        if unknown != 0 {
            return Err(Why::Unknown(unknown).into());
        }
        let size = u32_at(header, 8);
        let bytes = memory
            .get(..size as usize)
            .filter(|_| size as usize >= HEADER_SIZE && size % 8 == 0);
        let bytes = bytes.ok_or(Why::Size(size))?;
        let (count, first) = (u32_at(header, 12), u32_at(header, 16));
        if first > count {
            return Err(Why::First(first).into());
        }
        let shared_size = Region::RECORD.saturating_mul(u32_at(header, 20) as usize);
        let from = |at: u32| bytes.get(at as usize..).filter(|_| at % 8 == 0).ok_or(Why::Length(at));
        let batch = Self {
            results_limit: u32_at(header, 32),
            spread: flags & SPREAD != 0,
            bytes,
            first,
            count,
            shared: from(u32_at(header, 24))?
                .get(..shared_size)
                .ok_or(Why::Length(u32_at(header, 20)))?,
            programs: from(u32_at(header, 28))?,
        };
        batch.shared().try_for_each(|region| region.map(drop))?;
        for program in batch.all() {
            program?.check()?;
        }
        Ok(batch)
    }

    /// The regions that are filled before every program, in order.
    pub fn shared(self) -> impl Iterator<Item = Result<Region<'a>, Bad>> {
        Region::all(self.shared, self.bytes).map(|region| region.map_err(Bad::from))
    }

    /// The programs to execute, in order.
    pub fn programs(self) -> impl Iterator<Item = Result<Program<'a>, Bad>> {
        self.all().skip(self.first as usize)
    }

    fn all(self) -> impl Iterator<Item = Result<Program<'a>, Bad>> {
        let mut rest = self.programs;
        (0..self.count).map(move |index| {
            let (program, length) = Program::read(index, rest, self.bytes).map_err(|why| Bad {
                program: Some(index),
                ..why.into()
            })?;
            rest = &rest[length..];
            Ok(program)
        })
    }
}
