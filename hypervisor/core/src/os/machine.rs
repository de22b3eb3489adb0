//! The machine as the guest has it: its memory by nested paging, and what the hypervisor must know to keep its own.

use pc::acpi;
use pc::memory::{Span, remains};
use pc::policy::cpuid;
use pc::policy::port::PowerControl;
use pc::policy::quirk::Quirks;
use runtime::cpuid::{CpuidResult, cpuid as host_cpuid};
use runtime::log;
use runtime::msr::try_rdmsr;
use svm::addr::{GuestPhys, HostPhys, PAGE_SIZE};
use svm::checks::Host;
use svm::features::SvmFeatures;
use svm::npt::{EntryFlags, Levels, PageSize, Tables};
use svm::regs::{Cr0, Cr4};
use svm::walk::{LowMemory, Word};

use super::layout::{KEPT, Layout, MAPPED};
use crate::defect;
use crate::memory::TablePool;

/// As far as pages of 1 GiB reach with one table.
const MAPPED_BY_HUGE_PAGES: u64 = 512 << 30;
/// CPUID Fn8000_0001_EDX\[Page1GB\].
const HUGE_PAGES: u32 = 1 << 26;

/// What all virtual processors share.
pub struct Machine {
    /// Where the guest has no memory, in the order of addresses.
    hidden: [Span; KEPT],
    /// Where further processors start.
    pub startup_page: HostPhys,
    /// Their memory.
    pub room: HostPhys,
    tables: Tables<TablePool>,
    /// The I/O permission map of all processors.
    pub iopm: HostPhys,
    /// The MSR permission map of all processors.
    pub msrpm: HostPhys,
    /// The page of the local APIC's registers.
    pub apic: GuestPhys,
    /// How the guest switches the machine off.
    pub power: Option<PowerControl>,
    /// What SVM offers, which is the same on all processors of a machine, but for what the command line forbids.
    pub features: SvmFeatures,
    /// The processor that the guest believes in.
    pub processor: Host,
    quirks: Quirks,
}

impl Machine {
    /// Builds the nested tables. `rsdp` is where the loader says that the ACPI tables begin, 0 to search.
    ///
    /// # Safety
    /// The layout's pool is RAM that nobody else uses.
    pub unsafe fn new(layout: &Layout, rsdp: u64, iopm: HostPhys, msrpm: HostPhys, features: SvmFeatures) -> Self {
        let (base, pages) = layout.tables();
        // SAFETY: the caller answers for the pool.
        let pool = unsafe { TablePool::at(base, pages) };
        let apic = local_apic();
        // SAFETY: reads RAM and ROM below 4 GiB, which the boot code maps; nobody runs who could change them.
        let byte = |address: u64| (address < MAPPED).then(|| unsafe { (address as *const u8).read_volatile() });
        let power = acpi::power_control(byte, rsdp);
        match power {
            Some(power) => log!("ACPI: power is switched off by port {:#x}", power.port),
            None => log!("ACPI: no tables; the guest cannot switch the power off"),
        }
        let quirks = Quirks::of(host_cpuid);
        Self {
            hidden: layout.hidden,
            startup_page: layout.startup_page(),
            room: layout.room(),
            iopm,
            msrpm,
            tables: nested(pool, &layout.unmapped(), apic),
            apic,
            power,
            features,
            processor: Host::from_cpuid(
                |leaf, subleaf| {
                    let host = quirks.correct(leaf, subleaf, host_cpuid(leaf, subleaf));
                    cpuid::answer(leaf, subleaf, host, Cr4::empty())
                },
                Cr0::empty(),
            ),
            quirks,
        }
    }

    /// What the processor answers to CPUID, less what it announces by mistake.
    #[inline]
    pub fn cpuid(&self, function: u32, subfunction: u32) -> CpuidResult {
        self.quirks
            .correct(function, subfunction, host_cpuid(function, subfunction))
    }

    /// What N_CR3 must hold.
    pub fn nested_root(&self) -> HostPhys {
        self.tables.root()
    }

    /// Reads an entry of a page table; `None` beyond what the host maps.
    ///
    /// Not kept from what is hidden: the nested tables are, so no table of a guest that runs lies there, and what is read
    /// here is never shown to the guest.
    pub fn read_entry(&self, address: GuestPhys) -> Option<u64> {
        let aligned = address.0 & !7;
        if aligned >= MAPPED && !defect::WALK_UNBOUNDED.is_on() {
            return None;
        }
        // SAFETY: below 4 GiB linear is physical; the guest's other processors may write it meanwhile, so it is copied once
        // and never referred to.
        Some(unsafe { (aligned as *const u64).read_volatile() })
    }

    /// Reads bytes of one page; `None` if they are not, where the guest has no memory, or the host does not map it.
    pub fn read(&self, address: GuestPhys, bytes: &mut [u8]) -> Option<()> {
        if address.page_offset() + bytes.len() as u64 > PAGE_SIZE {
            return None;
        }
        if address.0 >= MAPPED || self.hidden.iter().any(|span| span.contains(address.0)) {
            return None;
        }
        // SAFETY: as above.
        unsafe { core::ptr::copy_nonoverlapping(address.0 as *const u8, bytes.as_mut_ptr(), bytes.len()) };
        Some(())
    }
}

impl LowMemory for Machine {
    #[inline]
    fn read(&self, word: Word) -> u64 {
        // SAFETY: a word lies below 4 GiB, where linear is physical. The guest's other processors may write it meanwhile, so
        // it is copied once and never referred to.
        unsafe { (word.address() as *const u64).read_unaligned() }
    }
}

/// Everything is where it is, but what is hidden is nowhere; and who writes the APIC's registers is asked what.
fn nested(pool: TablePool, hidden: &[Span; KEPT], apic: GuestPhys) -> Tables<TablePool> {
    // A guest's accesses are user accesses at the nested level (15.25.5). Accessed and dirty from the start: nobody asks,
    // and the processor need not write them.
    let read_only = EntryFlags::USER | EntryFlags::ACCESSED | EntryFlags::DIRTY;
    let flags = read_only | EntryFlags::WRITABLE;
    let huge = host_cpuid(0x8000_0001, 0).edx & HUGE_PAGES != 0;
    let (largest, end) = if huge {
        (PageSize::Huge, MAPPED_BY_HUGE_PAGES)
    } else {
        (PageSize::Large, MAPPED)
    };
    let mut tables = Tables::new(pool, Levels::Four).expect("the pool is fresh");
    let hidden = if defect::HYPERVISOR_MAPPED.is_on() {
        &[Span::default(); KEPT]
    } else {
        hidden
    };
    let [startup, image, pool] = *hidden;
    let mut holes = [startup, image, pool, Span::sized(apic.0, PAGE_SIZE)];
    holes.sort_unstable_by_key(|hole| hole.start);
    for span in remains(Span { start: 0, end }, &holes) {
        tables
            .map_range(span.start, HostPhys(span.start), span.end - span.start, largest, flags)
            .expect("the pool is large enough");
    }
    tables
        .map(apic.0, HostPhys(apic.0), PageSize::Small, read_only)
        .expect("nothing is there, and the pool is large enough");
    tables
}

/// Where the local APIC's registers are: bits 51:12 of APIC_BASE (APM vol. 2, 16.3.1).
fn local_apic() -> GuestPhys {
    const ADDRESS: u64 = 0x000F_FFFF_FFFF_F000;
    const AFTER_RESET: u64 = 0xFEE0_0000;
    let base = try_rdmsr(pc::policy::msr::APIC_BASE).map_or(AFTER_RESET, |value| value & ADDRESS);
    GuestPhys(base)
}
