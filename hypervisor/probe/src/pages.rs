//! The pages that step code is copied to.

use core::slice;

use probe_format::{MAX_CODE, Mode, settle};

use crate::fixed::Fixed;

/// `int 81h`, the end of a step.
const END: [u8; 2] = [0xcd, 0x81];
/// `int3`: what a step meets that jumps past its end.
const FILL: u8 = 0xcc;
const SIZE: usize = 4096;
/// How many pages there are: the first one, and those that code is spread over.
const PAGES: usize = 1 + SPREAD;
const SPREAD: usize = 32;

/// By name, so that an observer can stop where every step begins: at the first page, unless the batch says SPREAD.
#[unsafe(export_name = "svmconf_step_code")]
static CODE: Fixed<[[u8; SIZE]; PAGES]> = Fixed::new([[0; SIZE]; PAGES]);

/// The same for real mode and virtual-8086 mode.
const LOW: u64 = 0x8000;

/// The first page: the base of 16-bit code segments.
pub fn first() -> u64 {
    CODE.get() as u64
}

/// The pages, and how much of each is other than [`FILL`].
pub struct Pages {
    spread: bool,
    used: [usize; PAGES],
    low_used: usize,
}

impl Pages {
    /// Pages without code. To be called once.
    pub fn new(spread: bool) -> Self {
        Self {
            spread,
            used: [SIZE; PAGES],
            low_used: SIZE,
        }
    }

    /// Copies a step's code to a page, with the step's end after it; returns where it begins.
    pub fn place(&mut self, mode: Mode, code: &[u8]) -> u64 {
        const { assert!(MAX_CODE as usize + END.len() < SIZE) };
        let index = match mode {
            Mode::Long | Mode::Compatibility32 | Mode::Protected32 | Mode::Pae32 if self.spread => 1 + spread(code),
            _ => 0,
        };
        let (start, used) = match mode {
            Mode::Real | Mode::Virtual8086 => (LOW, &mut self.low_used),
            _ => (first() + (index * SIZE) as u64, &mut self.used[index]),
        };
        // SAFETY: nothing but step code is in the page, no step runs, and this is the only reference to it.
        let page = unsafe { slice::from_raw_parts_mut(start as *mut u8, SIZE) };
        let (content, rest) = page.split_at_mut(code.len());
        let (end, rest) = rest.split_at_mut(END.len());
        settle(content, code);
        settle(end, &END);
        let ours = code.len() + END.len();
        if *used > ours {
            rest[..*used - ours].fill(FILL);
        }
        *used = ours;
        start
    }
}

/// Which page this code goes to: nearly always another one than other code, so that what recurs is found in place.
fn spread(code: &[u8]) -> usize {
    // FNV-1a; its upper bits are the better ones.
    let hash = code.iter().fold(0x811c_9dc5u32, |hash, &byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    (hash >> (u32::BITS - SPREAD.ilog2())) as usize
}
