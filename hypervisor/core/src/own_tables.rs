//! Seeded defects in the page tables that the hypervisor itself runs on (`boot.asm`: identity, 2-MiB pages up to 4 GiB).

use x86_64::instructions::tables::{lgdt, sgdt};
use x86_64::registers::control::Cr3;
use x86_64::structures::DescriptorTablePointer;
use x86_64::structures::paging::PageTableFlags;

use crate::defect;

/// Makes the mistake that is built in, if it is one of these.
pub fn spoil() {
    /// Linear address of 2 MiB that nothing uses.
    const ALIAS: u64 = 0x3FE0_0000;
    /// Where the image lies, and with it all that the processor uses.
    const IMAGE: u64 = 0;
    let large = PageTableFlags::PRESENT | PageTableFlags::HUGE_PAGE;
    if defect::UNCACHED {
        map(
            IMAGE,
            IMAGE,
            large | PageTableFlags::WRITABLE | PageTableFlags::NO_CACHE,
        );
    }
    if defect::GDT_READ_ONLY {
        map(ALIAS, IMAGE, large);
        let DescriptorTablePointer { limit, base } = sgdt();
        // SAFETY: the same table as before, by another address that leads there.
        unsafe {
            lgdt(&DescriptorTablePointer {
                limit,
                base: base + ALIAS,
            });
        }
    }
}

/// Maps the 2 MiB from `linear`, below 1 GiB, to those from `physical`.
fn map(linear: u64, physical: u64, flags: PageTableFlags) {
    const ADDRESS: u64 = 0x000F_FFFF_FFFF_F000;
    let (root, controls) = Cr3::read_raw();
    // SAFETY: the tables are boot.asm's, identity-mapped: their first entries lead to the directory of the first GiB.
    // What is mapped there stays mapped to the same place, or was used by nobody; CR3 is written as it was.
    unsafe {
        let directories = *(root.start_address().as_u64() as *const u64) & ADDRESS;
        let directory = (*(directories as *const u64) & ADDRESS) as *mut u64;
        directory
            .add((linear >> 21) as usize)
            .write_volatile(physical | flags.bits());
        Cr3::write_raw(root, controls);
    }
}
