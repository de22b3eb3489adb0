//! Seeded defects in the hypervisor's own state: its page tables (`boot.asm`: identity, 2-MiB pages up to 4 GiB), its
//! descriptors, its debug registers.

use core::cell::UnsafeCell;

use runtime::descriptors::KERNEL_DATA;
use x86_64::PrivilegeLevel;
use x86_64::instructions::segmentation::{DS, Segment};
use x86_64::instructions::tables::{lgdt, sgdt};
use x86_64::registers::control::Cr3;
use x86_64::structures::DescriptorTablePointer;
use x86_64::structures::gdt::SegmentSelector;
use x86_64::structures::paging::PageTableFlags;

use crate::defect;

/// Makes the mistake that is built in, if it is one of these.
pub fn spoil() {
    page_tables();
    if defect::LDT_USED.is_on() {
        data_from_ldt();
    }
    if defect::GDT_CHANGED.is_on() {
        change_gdt();
    }
    if defect::BREAKPOINT_LOST.is_on() {
        // SAFETY: the breakpoint is at the first byte of memory, where nothing is executed.
        unsafe { set_dr7(BREAKPOINT_0) };
    }
}

fn page_tables() {
    /// Linear address of 2 MiB that nothing uses.
    const ALIAS: u64 = 0x3FE0_0000;
    /// Where the image lies, and with it all that the processor uses.
    const IMAGE: u64 = 0;
    let large = PageTableFlags::PRESENT | PageTableFlags::HUGE_PAGE;
    if defect::UNCACHED.is_on() {
        map(
            IMAGE,
            IMAGE,
            large | PageTableFlags::WRITABLE | PageTableFlags::NO_CACHE,
        );
    }
    if defect::GDT_READ_ONLY.is_on() {
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

/// A descriptor table with room for more than the runtime's.
struct Table(UnsafeCell<[u64; 16]>);

// SAFETY: only `data_from_ldt` writes it, once, on the first processor.
unsafe impl Sync for Table {}

static TABLE: Table = Table(UnsafeCell::new([0; 16]));

/// Uses a GDT of its own, and DS from an LDT, which is the GDT's last quadword.
fn data_from_ldt() {
    const DATA: usize = 2;
    const LDT: usize = 8;
    const IN_LDT: usize = 15;
    const SIZE: u64 = 8;
    const PRESENT_LDT: u64 = 0x82 << 40;
    const FROM_LDT: u16 = 1 << 2;
    let DescriptorTablePointer { limit, base } = sgdt();
    // SAFETY: the new table begins as the old one, which is shorter; the selectors in use lead to the same descriptors, and
    // 64-bit mode makes no use of DS.
    unsafe {
        let table = TABLE.0.get().cast::<u64>();
        table.copy_from_nonoverlapping(base.as_ptr(), (usize::from(limit) + 1) / SIZE as usize);
        let at = table.add(IN_LDT) as u64;
        table.add(IN_LDT).write(*table.add(DATA));
        table.add(LDT).write(PRESENT_LDT | (at & 0xFF_FFFF) << 16 | (SIZE - 1));
        lgdt(&DescriptorTablePointer {
            limit: (16 * SIZE - 1) as u16,
            base: x86_64::VirtAddr::from_ptr(table),
        });
        let selector = SegmentSelector::new(LDT as u16, PrivilegeLevel::Ring0);
        core::arch::asm!("lldt {:x}", in(reg) selector.0, options(nostack, preserves_flags));
        DS::set_reg(SegmentSelector(FROM_LDT));
    }
}

/// Changes the limit in the descriptor of the data segments, which are loaded.
fn change_gdt() {
    const LIMIT: u64 = 0xFFFF;
    let data = sgdt().base.as_mut_ptr::<u64>();
    // SAFETY: the table is writable, and 64-bit mode makes no use of that limit.
    unsafe {
        let descriptor = data.add(usize::from(KERNEL_DATA.index()));
        descriptor.write_volatile(descriptor.read_volatile() & !LIMIT);
    }
}

/// DR7 with breakpoint 0 enabled, and with none.
const BREAKPOINT_0: u64 = 0x401;
const NONE: u64 = 0x400;

/// What #VMEXIT leaves of a breakpoint of the host's, and it with this defect: nothing. QEMU brings DR7 back.
pub fn after_exit() {
    if defect::BREAKPOINT_LOST.is_on() {
        // SAFETY: that enables nothing.
        unsafe { set_dr7(NONE) };
    }
}

/// # Safety
/// What becomes a breakpoint must never be executed: nobody handles #DB.
unsafe fn set_dr7(value: u64) {
    // SAFETY: the caller answers for it; DR0 is the guest's or 0.
    unsafe { core::arch::asm!("mov dr7, {}", in(reg) value, options(nomem, nostack, preserves_flags)) };
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
