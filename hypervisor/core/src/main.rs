//! The reference hypervisor: boots, enables SVM in the manual's order, and runs small guests that are part of it, or an
//! operating system that comes as boot modules.
//!
//! `README.md` is the map. The way through the code: [`image_main`] here, [`enable::enable`], then for the small guests
//! [`setup::build`], [`run::run`], and from there the handlers in [`exits`]; for an operating system [`os::start_kernel`].
#![no_std]
#![no_main]

mod clean;
mod clock;
mod defect;
mod enable;
mod exits;
mod guest;
mod guests;
mod memory;
mod moves;
mod options;
mod os;
mod own_state;
mod paging;
mod refused;
mod report;
mod run;
mod second;
mod setup;
mod smm;
mod startup;
mod turns;
mod vcpu;
mod world;

use runtime::{Boot, Outcome, Record, descriptors, exit, log};

use svm::features::SvmFeatures;
use svm::pending::Pending;

use guest::Guest;
use memory::{GuestMemory, Pages, TablePool, host_save_area, take_spare_vmcb, take_vmcb};
use moves::Place;
use options::{Choice, Images, KEYS, Options};
use paging::Paging;
use turns::Turns;
use vcpu::Vcpu;
use world::Registers;

#[unsafe(no_mangle)]
fn image_main(boot: &Boot) -> ! {
    let outcome = start(boot);
    defect::report();
    exit(outcome)
}

/// The whole program; what it returns is how it ended.
fn start(boot: &Boot) -> Outcome {
    let cmdline = boot.cmdline(KEYS);
    let bytes = cmdline.as_ref().map_or_else(|bad| bad.bytes, |line| line.as_bytes());
    let options = cmdline.map(Options::parse);
    Record::new("boot")
        .word("protocol", boot.protocol.name())
        .word("version", env!("CARGO_PKG_VERSION"))
        .word("defect", defect::name())
        // Last: it may fill the record.
        .text("cmdline", bytes)
        .emit();
    let options = match options {
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

    match &options.guest {
        Choice::BuiltIn(images) => built_in(boot, images, &options),
        Choice::WholeMachine(image) => os::start_small(boot, &options, image),
        Choice::Linux => os::start_kernel(boot, &options),
    }
}

/// Runs guests that are part of the hypervisor. Not inlined: an operating system's way shall not pay for its stack.
#[inline(never)]
fn built_in(boot: &Boot, images: &Images, options: &Options) -> Outcome {
    let count = images.all().len();
    if !memory::has_slots(&boot.handover, count) && !defect::MEMORY_ASSUMED.is_on() {
        log!("{count} guests need more memory than this machine has");
        return Outcome::NotEnoughMemory;
    }
    // VMRUN may raise it while the task register is the guest's.
    descriptors::keep_stack(exits::GENERAL_PROTECTION);
    let (features, asids) = match enable::enable(host_save_area(), SvmFeatures::empty(), options.svm_key) {
        Ok(leaf) => (leaf.features - options.without, leaf.asids),
        Err(refusal) => return enable::outcome(refusal),
    };

    // SAFETY: this function runs once.
    let pages = unsafe { Pages::take() };
    let mut moves = options.moves;
    // SAFETY: as above, and SVM is enabled.
    if moves.processor != 0 && !unsafe { second::start() } {
        moves.processor = 0;
    }
    let maps = setup::open_maps(pages.iopm, pages.msrpm, features);
    // SAFETY: as above.
    let turns = unsafe { Turns::take(asids, options.slice) };
    let mut first_vmcb = Some(pages.vmcb);
    for (slot, image) in images.all().iter().enumerate() {
        // SAFETY: each slot is taken once, and the loader's information has been copied.
        let (memory, pool) = unsafe { (GuestMemory::take(slot), TablePool::take(slot)) };
        // SAFETY: as above.
        let vmcb = first_vmcb.take().unwrap_or_else(|| unsafe { take_vmcb(slot) });
        let paging = Paging::choose(features, options.nested_paging, &memory, pool);
        setup::build(vmcb, maps, &paging, features);
        if slot == 0 {
            own_state::spoil();
        }
        report::before_first_entry(vmcb, paging.name(), paging.root());
        let vcpu = Vcpu {
            vmcb,
            registers: Registers::default(),
            features,
        };
        // SAFETY: as above.
        let place = Place::new(moves, unsafe { take_spare_vmcb(slot) });
        let mut guest = Guest::new(
            vcpu,
            memory,
            paging,
            Pending::new(options.interrupts),
            place,
            pages.host_vmcb,
        );
        guest.load(image, options.count, slot as u64);
        turns.seat(guest);
    }
    run::run(turns)
}
