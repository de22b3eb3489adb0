//! The pages that step code is copied to.

use core::slice;

use probe_format::{MAX_CODE, Mode};

use crate::fixed::Fixed;

/// `int 81h`, the end of a step.
const END: [u8; 2] = [0xcd, 0x81];
/// `int3`: what a step meets that jumps past its end.
const FILL: u8 = 0xcc;
const SIZE: usize = 4096;

/// By name, so that an observer can stop where every step begins.
#[unsafe(export_name = "svmconf_step_code")]
static CODE: Fixed<[u8; SIZE]> = Fixed::new([0; SIZE]);

/// The same for real mode and virtual-8086 mode.
const LOW: u64 = 0x8000;

/// Where the code of a step in this mode begins.
pub fn address(mode: Mode) -> u64 {
    match mode {
        Mode::Real | Mode::Virtual8086 => LOW,
        _ => CODE.get() as u64,
    }
}

/// The two pages, and how much of each is other than [`FILL`].
pub struct Pages {
    high: usize,
    low: usize,
}

impl Pages {
    /// Both pages without code. To be called once.
    pub fn new() -> Self {
        Self { high: SIZE, low: SIZE }
    }

    /// Copies a step's code to its page, with the step's end after it.
    ///
    /// Nothing is written when it is there already: emulators drop what they translated when its page is written.
    pub fn place(&mut self, mode: Mode, code: &[u8]) {
        const { assert!(MAX_CODE as usize + END.len() < SIZE) };
        let start = address(mode);
        let used = if start == LOW { &mut self.low } else { &mut self.high };
        // SAFETY: nothing but step code is in the page, no step runs, and this is the only reference to it.
        let page = unsafe { slice::from_raw_parts_mut(start as *mut u8, SIZE) };
        let (content, rest) = page.split_at_mut(code.len());
        let (end, rest) = rest.split_at_mut(END.len());
        if content != code || end != END {
            content.copy_from_slice(code);
            end.copy_from_slice(&END);
        }
        let ours = code.len() + END.len();
        if *used > ours {
            rest[..*used - ours].fill(FILL);
        }
        *used = ours;
    }
}
