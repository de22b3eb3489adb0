//! The watched memory of a program, and a copy of it to compare with.

use core::slice;

use probe_format::{Bad, Full, MAX_WATCHED, Program, Recorder, Watch, changes};

use crate::fixed::Fixed;

const QUADWORDS: usize = MAX_WATCHED as usize / 8;

static SHADOW: Fixed<[u64; QUADWORDS]> = Fixed::new([0; QUADWORDS]);

/// The watches of the program under way.
pub struct Watched<'a> {
    program: Program<'a>,
    shadow: &'static mut [u64],
}

impl<'a> Watched<'a> {
    /// Copies what is watched. To be called when the one before is gone.
    ///
    /// # Errors
    /// A watch is not well-formed.
    pub fn new(program: Program<'a>) -> Result<Self, Bad> {
        // SAFETY: only one `Watched` lives at a time.
        let shadow = unsafe { &mut *SHADOW.get() };
        let mut rest = &mut shadow[..];
        for watch in program.watches() {
            let memory = memory(watch?);
            let (copy, after) = rest.split_at_mut(memory.len());
            copy.copy_from_slice(memory);
            rest = after;
        }
        Ok(Self { program, shadow })
    }

    /// Records what has changed since the last look.
    ///
    /// # Errors
    /// It does not fit.
    pub fn look(&mut self, recorder: &mut Recorder) -> Result<(), Full> {
        let mut rest = &mut self.shadow[..];
        for (n, watch) in (0..).zip(self.program.watches().flatten()) {
            let memory = memory(watch);
            let (copy, after) = rest.split_at_mut(memory.len());
            changes(memory, copy, |index, value| recorder.change(n, index as u32 * 8, value))?;
            rest = after;
        }
        Ok(())
    }
}

fn memory(watch: Watch) -> &'static [u64] {
    // SAFETY: a watch is aligned and lies in RAM, which is identity-mapped; while the slice is used, no step runs.
    unsafe { slice::from_raw_parts(watch.address as *const u64, watch.size as usize / 8) }
}
