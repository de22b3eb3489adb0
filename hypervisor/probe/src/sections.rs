//! The two sections that the harness finds by name in the image.

use core::cell::UnsafeCell;
use core::hint::black_box;

use probe_format::{HEADER_SIZE, RESULT_SIZE, SECTION_SIZE, StepResult, empty};

#[repr(C, align(4096))]
struct Section(UnsafeCell<[u8; SECTION_SIZE]>);

// SAFETY: one processor and no interrupts. The program is only read; the results are only written, by the one `Results`.
unsafe impl Sync for Section {}

/// Overwritten in a copy of the image before it boots.
#[used]
#[unsafe(link_section = ".svmconf.program")]
static PROGRAM: Section = Section(UnsafeCell::new(empty()));

/// Read in the machine's RAM after the end.
#[used]
#[unsafe(link_section = ".svmconf.results")]
static RESULTS: Section = Section(UnsafeCell::new([0; SECTION_SIZE]));

/// The program's bytes, as they are in the loaded image and not as they were compiled.
pub fn program() -> &'static [u8] {
    // SAFETY: the section is initialised when the image is loaded, and nobody writes to it.
    unsafe { &*black_box(PROGRAM.0.get()) }
}

/// The results under construction.
pub struct Results {
    at: *mut u8,
    pushed: usize,
}

impl Results {
    /// The section, empty. To be called once.
    pub fn take() -> Self {
        Self {
            at: RESULTS.0.get().cast(),
            pushed: 0,
        }
    }

    /// Writes the header.
    pub fn set_header(&mut self, header: [u32; 4]) {
        // SAFETY: the section begins on a page and is longer than the header. Volatile, because a step may hang and the
        // reader is outside.
        unsafe { self.at.cast::<[u32; 4]>().write_volatile(header) }
    }

    /// Appends a step's result.
    pub fn push(&mut self, result: StepResult) {
        let offset = HEADER_SIZE + RESULT_SIZE * self.pushed;
        assert!(
            offset + RESULT_SIZE <= SECTION_SIZE,
            "a program with too many steps was let through"
        );
        // SAFETY: the assertion keeps the write in the section, and header and results have sizes that keep it aligned.
        unsafe { self.at.add(offset).cast::<StepResult>().write_volatile(result) }
        self.pushed += 1;
    }
}
