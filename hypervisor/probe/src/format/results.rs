//! The results: a header, then what each step of each program left behind.

use core::mem::{offset_of, size_of};

/// The vector of a step that ran to its end.
pub const NO_FAULT: u32 = u32::MAX;

pub(crate) const MAGIC: u32 = u32::from_le_bytes(*b"SVMR");
pub(crate) const VERSION: u32 = 2;
pub(crate) const FULL: u32 = 1 << 0;

/// In front of all.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Header {
    pub magic: u32,
    pub version: u32,
    pub ended: u32,
    pub program: u32,
    pub step: u32,
    pub used: u32,
    pub flags: u32,
    pub reserved: [u32; 3],
}

const _: () = assert!(size_of::<Header>() == 40);

/// In front of a program's steps.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProgramHead {
    pub index: u32,
    pub tag: u32,
    pub steps: u16,
    pub reserved: u16,
    pub length: u32,
}

const _: () = assert!(size_of::<ProgramHead>() == 16);

/// What a step left behind, in front of what was asked for.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepHead {
    /// Length of the record; the recorder sets it.
    pub length: u32,
    /// The exception's vector, or [`NO_FAULT`].
    pub vector: u32,
    /// Its error code, 0 if it has none.
    pub error: u32,
    /// The registers that are other than what was loaded, bit n for register n.
    pub registers: u16,
    /// What else is recorded: the recorder sets it.
    pub flags: u16,
    /// How many changes; the recorder sets it.
    pub changes: u32,
    /// 0.
    pub reserved: u32,
    /// RIP relative to the code's start: of the exception, or the code's length for a step that ran to its end.
    pub rip: u64,
    /// RFLAGS when the step ended.
    pub rflags: u64,
    /// CR2 when the step ended.
    pub cr2: u64,
}

impl StepHead {
    pub(crate) const XMM: u16 = 1 << 0;
    pub(crate) const STATE: u16 = 1 << 1;
    pub(crate) const TIME: u16 = 1 << 2;
}

const _: () = assert!(size_of::<StepHead>() == 48);
const _: () = assert!(offset_of!(StepHead, registers) == 12);
const _: () = assert!(offset_of!(StepHead, changes) == 16);
const _: () = assert!(offset_of!(StepHead, rip) == 24);

/// A quadword of watched memory that a step changed.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub watch: u32,
    pub offset: u32,
    pub value: u64,
}

const _: () = assert!(size_of::<Change>() == 16);
