//! The two sections that the harness finds by name in the image.

use core::hint::black_box;

use probe_format::{EMPTY, HEADER_SIZE, MAX_SIZE};

#[repr(C, align(4096))]
struct Section([u8; HEADER_SIZE]);

/// The last thing in the file. A copy of the image has another batch here, of another length.
#[used]
#[unsafe(link_section = ".svmconf.program")]
static PROGRAM: Section = Section(EMPTY);

unsafe extern "C" {
    // image.ld; the results have no object of their own, because 24 MiB are nothing to compile.
    #[link_name = "svmconf_results"]
    static RESULTS: u8;
    #[link_name = "svmconf_results_end"]
    static RESULTS_END: u8;
}

/// The batch, as it is in the loaded image and not as it was compiled; and the memory behind it that a larger one has.
pub fn batch() -> &'static [u8] {
    // SAFETY: image.ld keeps this much memory behind the section free of anything that is written.
    unsafe { core::slice::from_raw_parts(black_box(&raw const PROGRAM).cast(), MAX_SIZE) }
}

/// Where the results go, and how many bytes there are.
pub fn results() -> (*mut u8, usize) {
    let (start, end) = (&raw const RESULTS, &raw const RESULTS_END);
    (start.cast_mut(), end as usize - start as usize)
}
