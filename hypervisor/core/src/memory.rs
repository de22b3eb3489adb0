//! Memory: the guest's, the pool of page-table pages, and the pages that the processor uses by itself.
//!
//! The built-in guests have a slot each, at fixed addresses above the image, which `runtime/image.ld` keeps below 4 MiB;
//! the rest is in .bss. Linear is physical (`boot.asm`).

use core::cell::UnsafeCell;

use pc::memory::{Area, Span, is_usable};
use runtime::handover::{self, Handover, MAX_AREAS};
use runtime::log;
use svm::addr::{GuestPhys, HostPhys, PAGE_SIZE};
use svm::iopm::Iopm;
use svm::msrpm::Msrpm;
use svm::vmcb::Vmcb;

use crate::defect;

/// How many built-in guests there can be.
pub const SLOTS: usize = 8;

const FIRST_SLOT: u64 = 0x40_0000;
const SLOT_SIZE: u64 = 0x40_0000;
// What is where in a slot. The first guest's VMCB is in .bss, with that of an operating system.
const MEMORY: u64 = 0;
const POOL: u64 = 0x20_0000;
const POOL_PAGES: u64 = 256;
const SLOT_VMCB: u64 = 0x30_0000;
const SPARE_VMCB: u64 = 0x30_1000;

/// In the first slot, what the second processor has: 64 KiB for each APIC id up to 7 (`second.rs`).
pub const SECOND_PROCESSOR: HostPhys = HostPhys(FIRST_SLOT + 0x38_0000);

/// Where a part of a slot is.
fn in_slot(slot: usize, part: u64) -> HostPhys {
    assert!(slot < SLOTS, "there are {SLOTS} slots");
    HostPhys(FIRST_SLOT + slot as u64 * SLOT_SIZE + part)
}

/// A part of the memory map that the loader handed over.
pub fn area_of(told: &handover::Area) -> Area {
    Area {
        span: Span {
            start: told.start,
            end: told.end,
        },
        kind: told.kind,
    }
}

/// Whether so many slots are RAM. A loader that tells of no memory is believed to have loaded us into enough.
pub fn has_slots(handover: &Handover, count: usize) -> bool {
    let Some(told) = handover.areas() else {
        log!("the loader gave no memory map, or too long a one: nobody knows whether there is memory for the guests");
        return true;
    };
    let mut areas = [Area::default(); MAX_AREAS];
    for (area, told) in areas.iter_mut().zip(told) {
        *area = area_of(told);
    }
    is_usable(&areas, Span::sized(FIRST_SLOT, count as u64 * SLOT_SIZE))
}

/// The VMCB of a guest in another slot than the first, all 0.
///
/// # Safety
/// May be called once for each slot.
pub unsafe fn take_vmcb(slot: usize) -> &'static mut Vmcb {
    assert!(slot > 0, "the first slot's VMCB is one of `Pages`");
    // SAFETY: the caller calls once for each slot.
    unsafe { take_page(slot, SLOT_VMCB) }
}

/// Another page for the VMCB of the guest in a slot, all 0.
///
/// # Safety
/// May be called once for each slot.
pub unsafe fn take_spare_vmcb(slot: usize) -> &'static mut Vmcb {
    // SAFETY: the caller calls once for each slot.
    unsafe { take_page(slot, SPARE_VMCB) }
}

/// # Safety
/// May be called once for each slot and part, which is a page.
unsafe fn take_page(slot: usize, part: u64) -> &'static mut Vmcb {
    let vmcb = in_slot(slot, part).0 as *mut Vmcb;
    // SAFETY: the page lies above the image, in RAM, and nobody else uses it; zeroes are a VMCB.
    unsafe {
        vmcb.write_bytes(0, 1);
        &mut *vmcb
    }
}

/// A page that the processor reads or writes, and Rust only through the pointers given out here.
#[repr(C, align(4096))]
struct Fixed<T>(UnsafeCell<T>);

// SAFETY: one processor and no preemption; `Pages::take` hands each out once.
unsafe impl<T> Sync for Fixed<T> {}

impl<T> Fixed<T> {
    fn address(&self) -> HostPhys {
        HostPhys(self.0.get() as u64)
    }
}

static VMCB: Fixed<Vmcb> = Fixed(UnsafeCell::new(Vmcb::zeroed()));
static HOST_VMCB: Fixed<Vmcb> = Fixed(UnsafeCell::new(Vmcb::zeroed()));
// Initialised data, not filled in at run time: a value of this size would pass through the stack.
static IOPM: Fixed<Iopm> = Fixed(UnsafeCell::new(Iopm::intercept_all()));
static MSRPM: Fixed<Msrpm> = Fixed(UnsafeCell::new(Msrpm::intercept_all()));

/// The host save area: the processor's own from the moment its address is in VM_HSAVE_PA (APM vol. 2, 15.30.4). Nothing
/// in here reads or writes it, not even to clear it.
#[unsafe(no_mangle)]
static HOST_SAVE_AREA: Fixed<[u8; PAGE_SIZE as usize]> = Fixed(UnsafeCell::new([0; PAGE_SIZE as usize]));

/// What is handed to the processor by address.
pub struct Pages {
    /// The guest's VMCB, all 0.
    pub vmcb: &'static mut Vmcb,
    /// Keeps what VMSAVE stores of the host.
    pub host_vmcb: HostPhys,
    /// The I/O permission map: every port exits.
    pub iopm: &'static mut Iopm,
    /// The MSR permission map: every register exits.
    pub msrpm: &'static mut Msrpm,
}

impl Pages {
    /// # Safety
    /// May be called once.
    pub unsafe fn take() -> Self {
        // SAFETY: called once, so no other reference exists.
        unsafe {
            Self {
                vmcb: &mut *VMCB.0.get(),
                host_vmcb: HOST_VMCB.address(),
                iopm: &mut *IOPM.0.get(),
                msrpm: &mut *MSRPM.0.get(),
            }
        }
    }
}

/// Where a static that is handed to the processor lies. A pointer that may be written through: the processor does.
pub fn host_address<T>(object: *mut T) -> HostPhys {
    HostPhys(object as u64)
}

unsafe extern "C" {
    #[link_name = "image_start"]
    static IMAGE_START: u8;
    #[link_name = "image_end"]
    static IMAGE_END: u8;
}

/// All of the image: code, data, and everything else in here.
pub fn image() -> Span {
    Span {
        start: (&raw const IMAGE_START) as u64,
        end: (&raw const IMAGE_END) as u64,
    }
}

/// Where the host save area is.
pub fn host_save_area() -> HostPhys {
    if defect::HSAVE_SHARED.is_on() {
        return HostPhys(IOPM.address().0 + 2 * PAGE_SIZE);
    }
    HOST_SAVE_AREA.address()
}

/// Seeded defects: touches the host save area now and then.
pub fn disturb_host_save_area(exits: u64) {
    const EVERY: u64 = 64;
    const LAST_WORD: u64 = PAGE_SIZE - 8;
    if !(defect::HSAVE_READ.is_on() || defect::HSAVE_WRITTEN.is_on()) || exits % EVERY != 0 {
        return;
    }
    let word = (host_save_area().0 + LAST_WORD) as *mut u64;
    // SAFETY: the page exists; the mistake is to touch it at all.
    unsafe {
        match defect::HSAVE_READ.is_on() {
            true => drop(word.read_volatile()),
            false => word.write_volatile(exits),
        }
    }
}

/// A guest's memory: 2 MiB from guest-physical 0.
///
/// A value of this type is the right to touch it; there is one a slot, and it is used only while the guest does not run.
pub struct GuestMemory {
    base: HostPhys,
    /// The pages that it gave back, a bit each.
    given: [u64; (GuestMemory::SIZE / PAGE_SIZE / 64) as usize],
}

impl GuestMemory {
    /// Bytes that the guest has.
    pub const SIZE: u64 = 0x20_0000;

    /// Clears the memory of the guest in a slot.
    ///
    /// # Safety
    /// May be called once for each slot, when the loader's information is no longer needed.
    pub unsafe fn take(slot: usize) -> Self {
        let base = in_slot(slot, MEMORY);
        // SAFETY: the block lies above the image, in RAM, and nobody else uses it.
        unsafe { (base.0 as *mut u8).write_bytes(0, Self::SIZE as usize) };
        Self {
            base,
            given: Default::default(),
        }
    }

    /// The guest gives a page back: nobody finds it there until it is taken again. `None` if the guest has no such page.
    pub fn give_back(&mut self, page: GuestPhys) -> Option<()> {
        self.host_page(page)?;
        let (word, bit) = Self::place(page);
        self.given[word] |= bit;
        Some(())
    }

    /// The guest touches a page that it gave back: it has one there again, of zeroes. `None` if it has not given it back.
    pub fn take_again(&mut self, page: GuestPhys) -> Option<HostPhys> {
        if page.0 >= Self::SIZE || !self.is_given(page) {
            return None;
        }
        let (word, bit) = Self::place(page);
        self.given[word] &= !bit;
        let host = self.host_page(page)?;
        // SAFETY: the page is the guest's, which does not run.
        unsafe { (host.0 as *mut u8).write_bytes(0, PAGE_SIZE as usize) };
        Some(host)
    }

    fn is_given(&self, page: GuestPhys) -> bool {
        let (word, bit) = Self::place(page);
        self.given[word] & bit != 0
    }

    /// Where a page's bit is: for pages that the guest has, given back or not.
    const fn place(page: GuestPhys) -> (usize, u64) {
        let number = page.0 / PAGE_SIZE;
        ((number / 64) as usize, 1 << (number % 64))
    }

    /// The host's page behind a page of the guest's; `None` where the guest has no memory, or gave it back.
    pub fn host_page(&self, page: GuestPhys) -> Option<HostPhys> {
        const MAPPED_BY_DEFECT: GuestPhys = GuestPhys(0x1F_F000);
        if page.page() == MAPPED_BY_DEFECT && defect::HSAVE_MAPPED.is_on() {
            return Some(host_save_area());
        }
        (page.0 < Self::SIZE && !self.is_given(page)).then(|| HostPhys(self.base.0 + page.page().0))
    }

    fn pointer(&self, address: GuestPhys, length: usize) -> Option<*mut u8> {
        let end = address.checked_add(length as u64)?;
        let mut pages = (address.page().0..end.0).step_by(PAGE_SIZE as usize);
        let there = end.0 <= Self::SIZE && !pages.any(|page| self.is_given(GuestPhys(page)));
        there.then(|| (self.base.0 + address.0) as *mut u8)
    }

    /// Copies out of the guest's memory; `None` if not all of it exists.
    pub fn read(&self, address: GuestPhys, bytes: &mut [u8]) -> Option<()> {
        let source = self.pointer(address, bytes.len())?;
        // SAFETY: `pointer` checked the range, and the guest is not running.
        unsafe { source.copy_to_nonoverlapping(bytes.as_mut_ptr(), bytes.len()) };
        Some(())
    }

    /// Copies into the guest's memory; `None` if not all of it exists.
    pub fn write(&mut self, address: GuestPhys, bytes: &[u8]) -> Option<()> {
        let target = self.pointer(address, bytes.len())?;
        // SAFETY: `pointer` checked the range, and the guest is not running.
        unsafe { target.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        Some(())
    }

    /// Reads a page-table entry.
    pub fn read_u64(&self, address: GuestPhys) -> Option<u64> {
        let mut bytes = [0; 8];
        self.read(address, &mut bytes)?;
        Some(u64::from_le_bytes(bytes))
    }
}

/// The pool from which page tables are made. Its pages are never given back one by one.
pub struct TablePool {
    base: HostPhys,
    pages: u64,
    used: u64,
}

impl TablePool {
    /// The pool of the built-in guest in a slot.
    ///
    /// # Safety
    /// May be called once for each slot.
    pub unsafe fn take(slot: usize) -> Self {
        // SAFETY: the block lies above the image, in RAM, and nobody else uses it.
        unsafe { Self::at(in_slot(slot, POOL), POOL_PAGES) }
    }

    /// A pool of `pages` pages from `base`.
    ///
    /// # Safety
    /// They are RAM below 4 GiB, page-aligned, and nobody else's for ever.
    pub unsafe fn at(base: HostPhys, pages: u64) -> Self {
        Self { base, pages, used: 0 }
    }

    /// A cleared page, or `None` when all are used.
    pub fn allocate(&mut self) -> Option<HostPhys> {
        if self.used == self.pages {
            return None;
        }
        let page = HostPhys(self.base.0 + self.used * PAGE_SIZE);
        // SAFETY: the page lies in the pool, which is RAM that nobody else uses.
        unsafe { (page.0 as *mut u8).write_bytes(0, PAGE_SIZE as usize) };
        self.used += 1;
        Some(page)
    }

    /// Forgets every page: the tables made of them must no longer be in use.
    pub fn clear(&mut self) {
        self.used = 0;
    }

    /// Reads an entry of a table.
    pub fn entry(&self, address: HostPhys) -> u64 {
        // SAFETY: `pointer` checked that the address is that of an entry of the pool.
        unsafe { self.pointer(address).read_volatile() }
    }

    /// Writes an entry of a table.
    pub fn set_entry(&mut self, address: HostPhys, value: u64) {
        // SAFETY: as above; the processor reads it when the guest runs.
        unsafe { self.pointer(address).write_volatile(value) }
    }

    fn pointer(&self, address: HostPhys) -> *mut u64 {
        let offset = address.0.wrapping_sub(self.base.0);
        assert!(
            offset < self.used * PAGE_SIZE && address.0 % 8 == 0,
            "{address} is no entry of the pool"
        );
        address.0 as *mut u64
    }
}
