//! The reference hypervisor: boots, enables SVM in the manual's order, and runs one guest: a small one that is part of it,
//! or an operating system that comes as boot modules.
//!
//! `README.md` is the map. The way through the code: [`image_main`] here, [`enable::enable`], then for the small guests
//! [`setup::build`], [`run::run`], and from there the handlers in [`exits`]; for an operating system [`os::start_kernel`].
#![no_std]
#![no_main]

mod clean;
mod defect;
mod enable;
mod exits;
mod guest;
mod guests;
mod memory;
mod options;
mod os;
mod own_tables;
mod paging;
mod refused;
mod report;
mod run;
mod setup;
mod vcpu;
mod world;

use runtime::{Boot, Outcome, Record, descriptors, exit, log};

use svm::features::SvmFeatures;

use guest::Guest;
use guests::Image;
use memory::{GuestMemory, Pages, TablePool, host_save_area};
use options::{Choice, KEYS, Options};
use paging::Paging;

#[unsafe(no_mangle)]
fn image_main(boot: &Boot) -> ! {
    exit(start(boot))
}

/// The whole program; what it returns is how it ended.
fn start(boot: &Boot) -> Outcome {
    let cmdline = boot.cmdline(KEYS);
    let bytes = cmdline.as_ref().map_or_else(|bad| bad.bytes, |line| line.as_bytes());
    Record::new("boot")
        .word("protocol", boot.protocol.name())
        .word("version", env!("CARGO_PKG_VERSION"))
        .word("defect", defect::name())
        // Last: it may fill the record.
        .text("cmdline", bytes)
        .emit();
    let options = match cmdline.map(Options::parse) {
        Ok(Ok(options)) => options,
        Ok(Err(bad)) => {
            log!("the command line has an unknown word: {}", bad.0);
            return Outcome::BadCommandLine;
        }
        Err(bad) => {
            log!("the command line {}", bad.why);
            return Outcome::BadCommandLine;
        }
    };

    match options.guest {
        Choice::BuiltIn(image) => built_in(image, &options),
        Choice::WholeMachine(image) => os::start_small(boot, &options, image),
        Choice::Linux => os::start_kernel(boot, &options),
    }
}

/// Runs a guest that is part of the hypervisor.
fn built_in(image: &Image, options: &Options) -> Outcome {
    // VMRUN may raise it while the task register is the guest's.
    descriptors::keep_stack(exits::GENERAL_PROTECTION);
    let features = match enable::enable(host_save_area(), SvmFeatures::empty()) {
        Ok(leaf) => leaf.features - options.without,
        Err(refusal) => return enable::outcome(refusal),
    };

    // SAFETY: this function runs once, and the loader's information has been copied.
    let (mut pages, memory, pool) = unsafe { (Pages::take(), GuestMemory::take(), TablePool::take()) };
    let paging = Paging::choose(features, options, &memory, pool);
    setup::build(&mut pages, &paging, features);
    own_tables::spoil();
    report::before_first_entry(pages.vmcb, paging.name(), paging.root());
    run::run(&mut Guest::new(pages, memory, paging, features, image, options.count))
}
