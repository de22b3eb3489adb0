//! A guest that is an operating system and has the machine almost for itself.
//!
//! Guest-physical is physical, but for what the hypervisor keeps. Devices and interrupts are the guest's; watched is only
//! what could take the machine away from the hypervisor: `pc::policy` has the tables.

mod cpu;
mod exits;
mod layout;
mod load;
mod machine;
mod processors;
mod run;
mod setup;

use core::cell::UnsafeCell;

use runtime::{Boot, Outcome, Record, descriptors, log};
use svm::features::SvmFeatures;

use crate::defect;
use crate::enable;
use crate::guests::Image;
use crate::memory::{Pages, host_address, host_save_area};
use crate::options::Options;
use crate::report;
use cpu::Cpu;
use layout::Layout;
use load::{Entry, Plan};
use machine::Machine;

/// Exceptions, the NMI among them.
const EXCEPTIONS: core::ops::Range<u8> = 0..32;

/// Further processors refer to it, and the first never returns from it.
static MACHINE: Once = Once(UnsafeCell::new(None));

struct Once(UnsafeCell<Option<Machine>>);

// SAFETY: `start` writes it, once, before anybody else looks; then it is only read.
unsafe impl Sync for Once {}

/// Loads the kernel that came as a boot module, and runs it to its end.
pub fn start_kernel(boot: &Boot, options: &Options) -> Outcome {
    match Plan::make(&boot.handover) {
        // SAFETY: the plan lies in memory that nothing uses, and the loader's information has been copied.
        Ok(plan) => start(boot, options, &plan.layout, || unsafe { plan.load() }),
        Err(why) => {
            log!("the boot modules: {why}");
            Outcome::BadModules
        }
    }
}

/// Runs a small guest, which gets the whole machine.
pub fn start_small(boot: &Boot, options: &Options, image: &Image) -> Outcome {
    match Layout::choose(&boot.handover, core::iter::empty()) {
        // SAFETY: conventional memory is the guest's, and the loader's information has been copied.
        Ok(layout) => start(boot, options, &layout, || unsafe {
            load::load_small(image, options.count)
        }),
        Err(why) => {
            log!("a whole machine: {why}");
            Outcome::BadModules
        }
    }
}

/// Enables SVM, loads the guest, and runs it. To be called once.
fn start(boot: &Boot, options: &Options, layout: &Layout, load: impl FnOnce() -> Entry) -> Outcome {
    if !options.nested_paging {
        log!("this guest needs nested paging, and the command line forbids it");
        return Outcome::NoNestedPaging;
    }
    // From the guest's first instruction on the task register is the guest's, also while the host runs.
    for vector in EXCEPTIONS {
        descriptors::keep_stack(vector);
    }
    let needed = if defect::NPT_ASSUMED.is_on() {
        SvmFeatures::empty()
    } else {
        SvmFeatures::NP
    };
    let features = match enable::enable(host_save_area(), needed, options.svm_key) {
        Ok(leaf) => leaf.features - options.without,
        Err(refusal) => return enable::outcome(refusal),
    };

    let entry = load();
    // SAFETY: this function runs once.
    let mut pages = unsafe { Pages::take() };
    let (iopm, msrpm) = (host_address(pages.iopm), host_address(pages.msrpm));
    // SAFETY: the layout set this memory aside, and no other reference to the machine exists yet.
    let machine: &'static Machine =
        unsafe { (*MACHINE.0.get()).insert(Machine::new(layout, boot.handover.rsdp, iopm, msrpm, features)) };
    // SAFETY: the layout set this memory aside, too.
    unsafe { processors::prepare(machine) };
    setup::build(&mut pages, machine, entry);
    for span in layout.unmapped() {
        Record::new("kept").hex("start", span.start).hex("end", span.end).emit();
    }
    report::before_first_entry(pages.vmcb, "nested", machine.nested_root());
    if let Entry::Kernel(kernel) = entry {
        log!(
            "kernel at {:#x}, parameters at {:#x}; the rest is the guest's",
            kernel.code,
            kernel.parameters
        );
    }
    run::run(&mut Cpu::first(pages.vmcb, machine))
}
