//! The reference hypervisor: boots, enables SVM in the manual's order, and runs one built-in guest.
//!
//! `README.md` is the map. The way through the code: [`image_main`] here, [`enable::enable`], [`setup::build`],
//! [`run::run`], and from there the handlers in [`exits`].
#![no_std]
#![no_main]

mod defect;
mod enable;
mod exits;
mod guest;
mod guests;
mod memory;
mod options;
mod paging;
mod refused;
mod run;
mod setup;
mod vcpu;
mod world;

use runtime::{Boot, Outcome, Record, descriptors, exit, log};

use guest::Guest;
use memory::{GuestMemory, Pages, TablePool, host_address, host_save_area};
use options::{KEYS, Options};
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

    // VMRUN may raise it while the task register is the guest's.
    descriptors::keep_stack(exits::GENERAL_PROTECTION);
    let leaf = match enable::enable(host_save_area()) {
        Ok(leaf) => leaf,
        Err(refusal) => return enable::outcome(refusal),
    };

    // SAFETY: this function runs once, and the loader's information has been copied.
    let (mut pages, memory, pool) = unsafe { (Pages::take(), GuestMemory::take(), TablePool::take()) };
    let paging = Paging::choose(leaf.features, &options, &memory, pool);
    setup::build(&mut pages, &paging);
    Record::new("paging").word("mode", paging.name()).emit();
    Record::new("vmcb")
        .hex("pa", host_address(pages.vmcb).0)
        .hex("iopm", pages.vmcb.control.iopm_base_pa.0)
        .hex("msrpm", pages.vmcb.control.msrpm_base_pa.0)
        .hex("table", paging.root().0)
        .hex("asid", pages.vmcb.control.guest_asid.0.into())
        .emit();
    run::run(&mut Guest::new(pages, memory, paging, leaf.features, &options))
}
