//! The probe: executes programs step by step in any mode of the processor, catches every fault, and records what each
//! step left.
//!
//! docs/protocol.md, "The probe", is the contract. The probe sets up nothing of SVM by itself: EFER.SVME, VM_HSAVE_PA
//! and the rest are the program's business. [`crossing`] is the way into a step and back.
#![no_std]
#![no_main]

mod crossing;
mod execute;
mod fixed;
mod interrupts;
mod pages;
mod sections;
mod state;
mod tables;
mod watched;

use probe_format::Batch;
use runtime::{Boot, Outcome, Record, exit, log};

#[unsafe(no_mangle)]
fn image_main(boot: &Boot) -> ! {
    // No word is known, so nothing is made of the command line; the loader's image path may be all there is.
    let cmdline = boot.cmdline(&[]).map_or_else(|bad| bad.bytes, str::as_bytes);
    Record::new("boot")
        .word("protocol", boot.protocol.name())
        .word("version", env!("CARGO_PKG_VERSION"))
        .word("defect", "none")
        .text("cmdline", cmdline)
        .emit();
    let done = Batch::parse(sections::batch()).and_then(execute::batch);
    exit(match done {
        Ok(ended) => {
            log!("{ended} programs ended");
            Outcome::ProgramFinished
        }
        Err(bad) => {
            log!("{bad}");
            Outcome::BadProgram
        }
    })
}
