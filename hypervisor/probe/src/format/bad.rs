//! Why a batch cannot be executed.

use core::fmt;

use crate::{MAX_CODE, MAX_WATCHED};

/// What is wrong, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bad {
    /// The program, counted from 0; `None` when it is the batch itself, or a shared region.
    pub program: Option<u32>,
    /// The step of that program, counted from 0.
    pub step: Option<u16>,
    /// The reason.
    pub why: Why,
}

/// What can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It does not begin with `SVMP`.
    Magic,
    /// A version that this probe does not know.
    Version(u16),
    /// Flags, or bytes that must be 0, are set and nobody knows what for.
    Unknown(u32),
    /// The size that the header tells is not one that a batch can have.
    Size(u32),
    /// The first program to execute is beyond the last.
    First(u32),
    /// A record is no multiple of 8 bytes, does not fit what holds it, or is not as long as what it holds.
    Length(u32),
    /// Region n, counted from 0, takes bytes from outside the batch, or more than its size.
    RegionSource(u32),
    /// Region n does not lie in the scratch memory.
    RegionTarget(u32),
    /// Watch n, counted from 0, is not aligned, or does not lie in RAM.
    Watch(u32),
    /// The watches of a program are too large together.
    Watched(u32),
    /// A mode that this probe does not know.
    Mode(u8),
    /// A CPL that the mode does not have.
    Cpl(u8),
    /// No code, or too much.
    CodeLength(u16),
}

impl From<Why> for Bad {
    fn from(why: Why) -> Self {
        Self {
            program: None,
            step: None,
            why,
        }
    }
}

impl fmt::Display for Bad {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(program) = self.program {
            write!(out, "program {program}: ")?;
        }
        if let Some(step) = self.step {
            write!(out, "step {step}: ")?;
        }
        write!(out, "{}", self.why)
    }
}

impl fmt::Display for Why {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic => write!(out, "it does not begin with SVMP"),
            Self::Version(version) => write!(out, "version {version} is unknown"),
            Self::Unknown(bits) => write!(out, "bits {bits:#x} have no meaning and must be 0"),
            Self::Size(size) => write!(out, "a batch of {size:#x} bytes cannot be"),
            Self::First(first) => write!(out, "there is no program {first} to begin with"),
            Self::Length(length) => write!(
                out,
                "a record of {length:#x} bytes does not fit its place or its content"
            ),
            Self::RegionSource(n) => write!(out, "region {n} takes bytes that it cannot have"),
            Self::RegionTarget(n) => write!(out, "region {n} is not in the scratch memory"),
            Self::Watch(n) => write!(out, "watch {n} is not aligned to 8 bytes, or not in RAM"),
            Self::Watched(size) => write!(out, "{size:#x} bytes are watched, {MAX_WATCHED:#x} can be"),
            Self::Mode(mode) => write!(out, "mode {mode} is unknown"),
            Self::Cpl(cpl) => write!(out, "the mode has no CPL {cpl}"),
            Self::CodeLength(length) => write!(out, "{length} bytes of code; 1 to {MAX_CODE} can be"),
        }
    }
}
