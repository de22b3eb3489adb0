//! The fixup table: instructions that may fault, and where to go on then.
//!
//! An entry is two addresses in the section `.fixups`: of the instruction, and of the code that goes on after a fault.
//! That code finds the vector in RAX and the error code in RDX; every other register is as the instruction left it.

use crate::exception::Frame;

/// A fault that a fixup turned into a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The exception's vector.
    pub vector: u8,
    /// Its error code, 0 if it has none.
    pub error: u32,
}

#[repr(C)]
struct Entry {
    instruction: u64,
    resume: u64,
}

unsafe extern "C" {
    #[link_name = "fixups_start"]
    static START: Entry;
    #[link_name = "fixups_end"]
    static END: Entry;
}

fn table() -> &'static [Entry] {
    let (start, end) = (&raw const START, &raw const END);
    let count = (end as usize - start as usize) / size_of::<Entry>();
    // SAFETY: the linker script sets the two symbols around the section, which holds nothing but entries.
    unsafe { core::slice::from_raw_parts(start, count) }
}

/// Sends the interrupted code to its fixup, if it has one.
pub(crate) fn apply(frame: &mut Frame) -> bool {
    let Some(entry) = table().iter().find(|entry| entry.instruction == frame.rip) else {
        return false;
    };
    frame.rip = entry.resume;
    frame.rax = frame.vector;
    frame.rdx = frame.error;
    true
}
