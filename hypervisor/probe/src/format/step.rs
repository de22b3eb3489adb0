//! A step: code to execute in a mode at a CPL, and what to record of it.

use crate::Why;
use crate::bytes::{u16_at, u32_at, u64_at};

/// How many general registers there are; their order is that of the ModRM byte's numbers.
pub const REGISTERS: usize = 16;
/// The number of RSP.
pub const RSP: usize = 4;
/// Bytes of code that a step may have.
pub const MAX_CODE: u16 = 2048;
/// Bytes in XMM0-15.
pub const XMM_SIZE: usize = 256;

const HEAD: usize = 16;

const GIVEN: u32 = 0xffff;
const XMM: u32 = 1 << 16;
const LOOK: u32 = 1 << 17;
const STATE: u32 = 1 << 18;
const RFLAGS: u32 = 1 << 19;
const TIME: u32 = 1 << 20;

/// What the processor is in while a step runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    /// 64-bit mode.
    Long = 0,
    /// Compatibility mode, 32-bit code.
    Compatibility32 = 1,
    /// Compatibility mode, 16-bit code.
    Compatibility16 = 2,
    /// Protected mode without paging, 32-bit code.
    Protected32 = 3,
    /// Protected mode without paging, 16-bit code.
    Protected16 = 4,
    /// Real mode.
    Real = 5,
    /// Virtual-8086 mode.
    Virtual8086 = 6,
    /// Protected mode with PAE paging, 32-bit code.
    Pae32 = 7,
}

impl Mode {
    /// In the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Long,
        Self::Compatibility32,
        Self::Compatibility16,
        Self::Protected32,
        Self::Protected16,
        Self::Real,
        Self::Virtual8086,
        Self::Pae32,
    ];

    const fn has_cpl(self, cpl: u8) -> bool {
        match self {
            Self::Real => cpl == 0,
            Self::Virtual8086 => cpl == 3,
            _ => cpl <= 3,
        }
    }
}

/// A step that was found to be well-formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step<'a> {
    /// What the processor is in.
    pub mode: Mode,
    /// 0 to 3.
    pub cpl: u8,
    /// 1 to [`MAX_CODE`] bytes.
    pub code: &'a [u8],
    /// RFLAGS to start with, when they are given.
    pub rflags: Option<u64>,
    /// XMM0-15 to start with; `Some` also says that they are recorded.
    pub xmm: Option<&'a [u8]>,
    flags: u32,
    registers: &'a [u8],
}

impl<'a> Step<'a> {
    /// Reads the step that `bytes` begin with; returns it and how long its record is.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<(Self, usize), Why> {
        let length = bytes.get(..HEAD).map_or(0, |head| u32_at(head, 0));
        let record = bytes.get(..length as usize).filter(|record| record.len() >= HEAD);
        let record = record.ok_or(Why::Length(length))?;
        let flags = u32_at(record, 8);
        let unknown = flags & !(GIVEN | XMM | LOOK | STATE | RFLAGS | TIME) | u32_at(record, 12);
        if unknown != 0 {
            return Err(Why::Unknown(unknown));
        }
        let (mode, cpl, code) = (record[4], record[5], u16_at(record, 6));
        let known = Mode::ALL.get(usize::from(mode)).ok_or(Why::Mode(mode))?;
        if !known.has_cpl(cpl) {
            return Err(Why::Cpl(cpl));
        }
        if !(1..=MAX_CODE).contains(&code) {
            return Err(Why::CodeLength(code));
        }
        let registers = 8 * (flags & GIVEN).count_ones() as usize;
        let size = |flag, size| if flags & flag == 0 { 0 } else { size };
        let parts = [size(RFLAGS, 8), registers, size(XMM, XMM_SIZE), usize::from(code)];
        if record.len() != HEAD + parts.iter().sum::<usize>().next_multiple_of(8) {
            return Err(Why::Length(length));
        }
        let mut rest = &record[HEAD..];
        let [rflags, registers, xmm, code] = parts.map(|size| {
            let (part, after) = rest.split_at(size);
            rest = after;
            part
        });
        let step = Self {
            mode: *known,
            cpl,
            code,
            rflags: (!rflags.is_empty()).then(|| u64_at(rflags, 0)),
            xmm: (!xmm.is_empty()).then_some(xmm),
            flags,
            registers,
        };
        Ok((step, record.len()))
    }

    /// The registers to start with: 0 where none is given, and `stack` for RSP.
    #[must_use]
    pub fn registers(&self, stack: u64) -> [u64; REGISTERS] {
        let mut registers = [0; REGISTERS];
        registers[RSP] = stack;
        let mut given = self.flags & GIVEN;
        for value in self.registers.chunks_exact(8) {
            registers[given.trailing_zeros() as usize] = u64_at(value, 0);
            given &= given - 1;
        }
        registers
    }

    /// Compare the watched memory after this step.
    #[must_use]
    pub const fn look(&self) -> bool {
        self.flags & LOOK != 0
    }

    /// Record EFER and VM_HSAVE_PA after this step.
    #[must_use]
    pub const fn state(&self) -> bool {
        self.flags & STATE != 0
    }

    /// Record how long it took.
    #[must_use]
    pub const fn time(&self) -> bool {
        self.flags & TIME != 0
    }
}
