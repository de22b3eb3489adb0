//! How a further processor comes from its start-up interrupt to Rust (`asm/startup.asm`), and gets ready for VMRUN.

use core::cell::UnsafeCell;

use runtime::msr::{try_rdmsr, try_wrmsr};
use svm::addr::HostPhys;
use svm::msr;
use svm::regs::Efer;
use x86_64::registers::control::{Cr0, Cr3, Cr4};

use crate::defect;
use crate::memory::host_save_area;

/// Where a further processor goes on, on its own stack, with its APIC id.
pub type Entry = extern "sysv64" fn(id: u32) -> !;

/// What `asm/startup.asm` reads.
#[repr(C)]
struct Control {
    cr0: u64,
    cr3: u64,
    cr4: u64,
    efer: u64,
    stacks: u64,
    stack_size: u64,
    entry: Option<Entry>,
}

unsafe extern "C" {
    #[link_name = "startup_begin"]
    static BEGIN: u8;
    #[link_name = "startup_end"]
    static END: u8;
    #[link_name = "startup_control"]
    static CONTROL: UnsafeControl;
}

#[repr(transparent)]
struct UnsafeControl(UnsafeCell<Control>);

// SAFETY: written once, by the first processor before it starts another.
unsafe impl Sync for UnsafeControl {}

/// Puts the code there that processors start with, and says where they go on: with the control registers that this one
/// has now. The stack of processor n ends at `stacks + (n + 1) * stack_size`.
///
/// # Safety
/// Called once, by the first processor; the page, which lies below 1 MiB, and the stacks are nobody else's.
pub unsafe fn prepare(page: HostPhys, stacks: HostPhys, stack_size: u64, entry: Entry) {
    let (begin, end) = (&raw const BEGIN, &raw const END);
    let length = end as usize - begin as usize;
    let control = Control {
        cr0: Cr0::read_raw(),
        cr3: Cr3::read_raw().0.start_address().as_u64(),
        cr4: Cr4::read_raw(),
        efer: try_rdmsr(msr::EFER).unwrap_or_default() & !(Efer::SVME | Efer::LMA).bits(),
        stacks: stacks.0,
        stack_size,
        entry: Some(entry),
    };
    // SAFETY: the caller answers for the page and the stacks; nobody reads the control block yet.
    unsafe {
        core::ptr::copy_nonoverlapping(begin, page.0 as *mut u8, length);
        *CONTROL.0.get() = control;
    }
}

/// Enables SVM on a further processor: as on the first, which has found out that it may be done.
pub fn enable(save_area: HostPhys) -> bool {
    let efer = try_rdmsr(msr::EFER).unwrap_or_default() | Efer::SVME.bits();
    // SAFETY: only SVME changes, and the page is this processor's for ever.
    unsafe {
        if defect::HSAVE_BORROWED.is_on() {
            let _ = try_wrmsr(msr::EFER, efer);
            let _ = try_wrmsr(msr::VM_HSAVE_PA, host_save_area().0);
        }
        try_wrmsr(msr::EFER, efer).is_ok() && try_wrmsr(msr::VM_HSAVE_PA, save_area.0).is_ok()
    }
}

/// Takes the INIT that is pending, if there is one, and is ready to be started.
pub fn wait_for_startup() -> ! {
    unsafe extern "sysv64" {
        fn stop_processor() -> !;
    }
    // SAFETY: it does not return, and touches no memory.
    unsafe { stop_processor() }
}
