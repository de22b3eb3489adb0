//! The program: a header, regions of memory to fill, steps to take.

use core::fmt;
use core::ops::Range;

use crate::REGISTERS;

/// Bytes in the section `.svmconf.program`, and in `.svmconf.results`.
pub const SECTION_SIZE: usize = 64 * 1024;
/// Where regions may lie: 16 MiB to 32 MiB.
pub const SCRATCH: Range<u64> = 0x0100_0000..0x0200_0000;
/// Bytes of code that a step may have.
pub const MAX_CODE: usize = 46;

const MAGIC: &[u8; 4] = b"SVMP";
const HEADER: usize = 16;
const REGION: usize = 16;
const STEP: usize = 128;
const VERSION: u16 = 1;

/// What the section holds until the harness overwrites it: a program without steps.
#[must_use]
pub const fn empty() -> [u8; SECTION_SIZE] {
    let mut bytes = [0; SECTION_SIZE];
    [bytes[0], bytes[1], bytes[2], bytes[3]] = *MAGIC;
    [bytes[4], bytes[5]] = VERSION.to_le_bytes();
    bytes
}

/// Why a program cannot be executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadProgram {
    /// It does not begin with `SVMP`.
    Magic,
    /// A version that this probe does not know.
    Version(u16),
    /// Regions and steps do not fit the program, or the results do not fit theirs.
    TooLong,
    /// Region n, counted from 0, takes bytes from outside the program.
    RegionSource(u16),
    /// Region n does not lie in the scratch memory.
    RegionTarget(u16),
    /// Step n, counted from 0, has a CPL that is neither 0 nor 3.
    Cpl(u16),
    /// Step n has more than 46 bytes of code.
    CodeLength(u16),
}

impl fmt::Display for BadProgram {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic => write!(out, "the program does not begin with SVMP"),
            Self::Version(version) => write!(out, "version {version} of programs is unknown"),
            Self::TooLong => write!(out, "there are too many regions or steps"),
            Self::RegionSource(n) => write!(out, "region {n} takes bytes from outside the program"),
            Self::RegionTarget(n) => write!(out, "region {n} is not within 16 MiB to 32 MiB"),
            Self::Cpl(n) => write!(out, "step {n} has a CPL that is neither 0 nor 3"),
            Self::CodeLength(n) => write!(out, "step {n} has more than {MAX_CODE} bytes of code"),
        }
    }
}

/// Bytes to copy before the first step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region<'a> {
    /// Physical address, within [`SCRATCH`].
    pub target: u64,
    /// What to put there.
    pub bytes: &'a [u8],
}

/// A step: 64-bit code at a CPL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step<'a> {
    /// At CPL 3 rather than 0.
    pub user: bool,
    /// At most [`MAX_CODE`] bytes.
    pub code: &'a [u8],
    /// The registers to start with.
    pub registers: [u64; REGISTERS],
}

/// A program that was found to be well-formed.
#[derive(Clone, Copy, Debug)]
pub struct Program<'a> {
    bytes: &'a [u8],
    regions: u16,
    steps: u16,
}

impl<'a> Program<'a> {
    /// Reads a program: every region and step is checked, so that using them cannot fail.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BadProgram> {
        if !bytes.starts_with(MAGIC) {
            return Err(BadProgram::Magic);
        }
        if bytes.len() < HEADER {
            return Err(BadProgram::TooLong);
        }
        let half = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        if half(4) != VERSION {
            return Err(BadProgram::Version(half(4)));
        }
        let program = Self {
            bytes,
            regions: half(6),
            steps: half(8),
        };
        let results = crate::HEADER_SIZE + crate::RESULT_SIZE * usize::from(program.steps);
        if program.steps_end() > bytes.len() || results > SECTION_SIZE {
            return Err(BadProgram::TooLong);
        }
        (0..program.regions).try_for_each(|n| program.region(n).map(drop))?;
        (0..program.steps).try_for_each(|n| program.step(n).map(drop))?;
        Ok(program)
    }

    const fn steps_start(&self) -> usize {
        HEADER + REGION * self.regions as usize
    }

    const fn steps_end(&self) -> usize {
        self.steps_start() + STEP * self.steps as usize
    }

    fn word(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.bytes[at..at + 4].try_into().expect("four bytes"))
    }

    fn quad(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.bytes[at..at + 8].try_into().expect("eight bytes"))
    }

    fn region(&self, n: u16) -> Result<Region<'a>, BadProgram> {
        let at = HEADER + REGION * usize::from(n);
        let (target, length, offset) = (self.quad(at), self.word(at + 8), self.word(at + 12) as usize);
        let bytes = offset
            .checked_add(length as usize)
            .and_then(|end| self.bytes.get(offset..end));
        let bytes = bytes.ok_or(BadProgram::RegionSource(n))?;
        let inside = target >= SCRATCH.start
            && target
                .checked_add(u64::from(length))
                .is_some_and(|end| end <= SCRATCH.end);
        if inside {
            Ok(Region { target, bytes })
        } else {
            Err(BadProgram::RegionTarget(n))
        }
    }

    fn step(&self, n: u16) -> Result<Step<'a>, BadProgram> {
        let at = self.steps_start() + STEP * usize::from(n);
        let user = match self.bytes[at] {
            0 => false,
            3 => true,
            _ => return Err(BadProgram::Cpl(n)),
        };
        let length = usize::from(self.bytes[at + 1]);
        if length > MAX_CODE {
            return Err(BadProgram::CodeLength(n));
        }
        let code = &self.bytes[at + 2..at + 2 + length];
        let registers = core::array::from_fn(|index| self.quad(at + 2 + MAX_CODE + 8 * index));
        Ok(Step { user, code, registers })
    }

    /// The regions, in order.
    pub fn regions(self) -> impl Iterator<Item = Region<'a>> {
        (0..self.regions).filter_map(move |n| self.region(n).ok())
    }

    /// The steps, in order.
    pub fn steps(self) -> impl Iterator<Item = Step<'a>> {
        (0..self.steps).filter_map(move |n| self.step(n).ok())
    }
}

#[cfg(test)]
mod tests;
