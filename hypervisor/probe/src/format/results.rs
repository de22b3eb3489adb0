//! The results: a header, then what each step left behind.

use core::mem::{offset_of, size_of};

use crate::REGISTERS;

/// Bytes in front of the first result.
pub const HEADER_SIZE: usize = 16;
/// Bytes in a result.
pub const RESULT_SIZE: usize = 128;
/// The vector of a step that ran to its end.
pub const NO_FAULT: u32 = u32::MAX;

/// The header: `ended` steps are done, step `under_way` (counted from 1, 0 for none) is next.
#[must_use]
pub fn header(ended: u32, under_way: u32) -> [u32; 4] {
    [u32::from_le_bytes(*b"SVMR"), ended, under_way, 0]
}

/// What a step left behind.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepResult {
    /// The exception's vector, or [`NO_FAULT`].
    pub vector: u32,
    /// Its error code, 0 if it has none.
    pub error: u32,
    /// RIP relative to the code's start: of the exception, or the code's length for a step that ran to its end.
    pub rip: u64,
    /// CR2.
    pub cr2: u64,
    /// EFER after the step.
    pub efer: u64,
    /// RFLAGS when the step ended.
    pub rflags: u64,
    /// The registers when the step ended.
    pub registers: [u64; REGISTERS],
    /// VM_HSAVE_PA after the step, 0 where it cannot be read.
    pub vm_hsave_pa: u64,
}

const _: () = assert!(size_of::<StepResult>() == RESULT_SIZE);
const _: () = assert!(offset_of!(StepResult, rip) == 8);
const _: () = assert!(offset_of!(StepResult, cr2) == 16);
const _: () = assert!(offset_of!(StepResult, efer) == 24);
const _: () = assert!(offset_of!(StepResult, rflags) == 32);
const _: () = assert!(offset_of!(StepResult, registers) == 40);
const _: () = assert!(offset_of!(StepResult, vm_hsave_pa) == 120);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_the_one_of_the_contract() {
        let bytes: Vec<u8> = header(2, 3).iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!(bytes, b"SVMR\x02\0\0\0\x03\0\0\0\0\0\0\0");
        assert_eq!(bytes.len(), HEADER_SIZE);
    }
}
