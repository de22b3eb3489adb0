//! The first Rust code of an image, and the last.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};
use x86_64::instructions::interrupts;

use crate::handover::Handover;
use crate::record::Line;
use crate::{Outcome, Record, cmdline, console, descriptors, loader, pic};

/// How the image was loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Protocol {
    Multiboot1,
    Multiboot2,
    Pvh,
}

impl Protocol {
    /// As it stands in the `boot` record.
    pub const fn name(self) -> &'static str {
        match self {
            Protocol::Multiboot1 => "multiboot1",
            Protocol::Multiboot2 => "multiboot2",
            Protocol::Pvh => "pvh",
        }
    }
}

/// Longer than any that makes sense, with the path of an image before it.
const MAX_CMDLINE: usize = 1024;

/// What an image learns at its start.
pub struct Boot {
    /// Who loaded it.
    pub protocol: Protocol,
    /// Modules and memory map.
    pub handover: Handover,
    cmdline: Line<MAX_CMDLINE>,
    cmdline_fits: bool,
    has_image_path: bool,
}

/// A command line that cannot be used.
pub struct BadCmdline<'a> {
    /// The line, as far as it was kept.
    pub bytes: &'a [u8],
    /// What is wrong with it.
    pub why: &'static str,
}

impl Boot {
    /// The command line, without the image's path; `keys` are the image's own (`guest=`, ...), which end a path.
    pub fn cmdline(&self, keys: &[&str]) -> Result<&str, BadCmdline<'_>> {
        let bytes = self.cmdline.bytes();
        let bad = |why| BadCmdline { bytes, why };
        if !self.cmdline_fits {
            return Err(bad("is too long"));
        }
        let line = core::str::from_utf8(bytes).map_err(|_| bad("is no text"))?;
        Ok(if self.has_image_path {
            cmdline::without_image_path(line, keys)
        } else {
            line
        })
    }
}

unsafe extern "Rust" {
    /// The image's own main function.
    fn image_main(boot: &Boot) -> !;
}

unsafe extern "sysv64" {
    /// `exit.asm`.
    fn exit_machine(code: u8) -> !;
}

/// Called by `boot.asm`.
#[unsafe(no_mangle)]
extern "sysv64" fn rust_start(magic: u32, information: u32) -> ! {
    console::initialise();
    descriptors::initialise();
    pic::initialise();
    let mut handover = Handover::default();
    // SAFETY: the two values come from the loader, and nothing has written to memory outside the image so far.
    let loaded = unsafe { loader::read(magic, information, &mut handover) };
    let Some(loaded) = loaded else {
        panic!("unknown loader: magic {magic:#x}");
    };
    let mut cmdline = Line::new();
    let cmdline_fits = cmdline.push_all(loaded.cmdline);
    let boot = Boot {
        protocol: loaded.protocol,
        handover,
        cmdline,
        cmdline_fits,
        has_image_path: loaded.has_image_path,
    };
    // SAFETY: an image that uses this crate defines it with this signature.
    unsafe { image_main(&boot) }
}

static VMRUNS: AtomicU64 = AtomicU64::new(0);

/// Counts one execution of VMRUN and returns how many there were before; the `outcome` record tells the sum.
pub fn count_vmrun() -> u64 {
    VMRUNS.fetch_add(1, Ordering::Relaxed)
}

/// The last act of an image: the `outcome` record, the code to port F4h, then HLT for ever.
pub fn exit(outcome: Outcome) -> ! {
    interrupts::disable();
    Record::new("outcome")
        .word("name", outcome.name())
        .hex("code", outcome.code().into())
        .hex("vmruns", VMRUNS.load(Ordering::Relaxed))
        .emit();
    // SAFETY: it does not return and touches no memory.
    unsafe { exit_machine(outcome.code()) }
}

impl fmt::Display for Protocol {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str(self.name())
    }
}
