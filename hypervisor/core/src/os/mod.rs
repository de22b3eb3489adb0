//! A guest that is an operating system and has the machine almost for itself.
//!
//! Guest-physical is physical, but for what the hypervisor keeps. Devices and interrupts are the guest's; watched is only
//! what could take the machine away from the hypervisor: `pc::policy` has the tables.

mod cpu;
mod exits;
mod load;
mod machine;
mod processors;
mod run;
mod setup;

use core::cell::UnsafeCell;

use runtime::{Boot, Outcome, descriptors, log};
use svm::features::SvmFeatures;

use crate::enable;
use crate::memory::{Pages, host_address, host_save_area};
use crate::options::Options;
use crate::report;
use cpu::Cpu;
use load::Plan;
use machine::Machine;

/// Exceptions, the NMI among them.
const EXCEPTIONS: core::ops::Range<u8> = 0..32;

/// Further processors refer to it, and the first never returns from it.
static MACHINE: Once = Once(UnsafeCell::new(None));

struct Once(UnsafeCell<Option<Machine>>);

// SAFETY: `start` writes it, once, before anybody else looks; then it is only read.
unsafe impl Sync for Once {}

/// Loads the kernel that came as a boot module, and runs it to its end.
pub fn start(boot: &Boot, options: &Options) -> Outcome {
    let plan = match Plan::make(&boot.handover) {
        Ok(plan) => plan,
        Err(why) => {
            log!("the boot modules: {why}");
            return Outcome::BadModules;
        }
    };
    if !options.nested_paging {
        log!("this guest needs nested paging, and the command line forbids it");
        return Outcome::NoNestedPaging;
    }
    // From the guest's first instruction on the task register is the guest's, also while the host runs.
    for vector in EXCEPTIONS {
        descriptors::keep_stack(vector);
    }
    let leaf = match enable::enable(host_save_area(), SvmFeatures::NP) {
        Ok(leaf) => leaf,
        Err(refusal) => return enable::outcome(refusal),
    };

    // SAFETY: this function runs once; the plan lies in memory that nothing uses, and the loader's information has been
    // copied.
    let (mut pages, entry) = unsafe { (Pages::take(), plan.load()) };
    let (iopm, msrpm) = (host_address(pages.iopm), host_address(pages.msrpm));
    // SAFETY: the plan set this memory aside, and no other reference to the machine exists yet.
    let machine: &'static Machine = unsafe { (*MACHINE.0.get()).insert(Machine::new(&plan, iopm, msrpm)) };
    // SAFETY: the plan set this memory aside, too.
    unsafe { processors::prepare(machine) };
    setup::build(&mut pages, machine, entry);
    report::before_first_entry(pages.vmcb, "nested", machine.nested_root());
    log!(
        "kernel at {:#x}, parameters at {:#x}; the rest is the guest's",
        entry.code,
        entry.parameters
    );
    run::run(&mut Cpu::first(pages.vmcb, leaf.features, machine))
}
