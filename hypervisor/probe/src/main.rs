//! The probe: executes a program step by step at CPL 0 or 3, catches every fault, and records what each step left.
//!
//! docs/protocol.md, "The probe", is the contract. The probe sets up nothing of SVM by itself: EFER.SVME, VM_HSAVE_PA
//! and the rest are the program's business. [`step`] is the way into a step and back.
#![no_std]
#![no_main]

mod sections;
mod step;

use probe_format::{Program, StepResult, header};
use runtime::msr::try_rdmsr;
use runtime::{Boot, Outcome, Record, exit, log};
use svm::msr::{EFER, VM_HSAVE_PA};

use sections::Results;

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
    exit(match Program::parse(sections::program()) {
        Ok(program) => run(program),
        Err(bad) => {
            log!("{bad}");
            Outcome::BadProgram
        }
    })
}

fn run(program: Program<'_>) -> Outcome {
    let mut results = Results::take();
    for region in program.regions() {
        // SAFETY: `parse` let only targets in the scratch memory through, which is identity-mapped RAM above the image
        // that nothing else uses.
        unsafe {
            core::ptr::copy_nonoverlapping(region.bytes.as_ptr(), region.target as *mut u8, region.bytes.len());
        }
    }
    step::prepare();
    let mut ended = 0;
    for step in program.steps() {
        results.set_header(header(ended, ended + 1));
        let left = step::run(&step);
        results.push(StepResult {
            efer: try_rdmsr(EFER).unwrap_or(0),
            vm_hsave_pa: try_rdmsr(VM_HSAVE_PA).unwrap_or(0),
            ..left
        });
        ended += 1;
    }
    results.set_header(header(ended, 0));
    log!("{ended} steps ended");
    Outcome::ProgramFinished
}
