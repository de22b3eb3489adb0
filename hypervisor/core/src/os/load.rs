//! From boot modules to a kernel in its place: the first module is a bzImage, with its command line, the second its
//! initial RAM disk.

use pc::bzimage::{Kernel, Parameters};
use pc::memory::{Area, MemoryMap, Span, Wanted, highest_place, lowest_place};
use runtime::handover::{Handover, MAX_MODULE_CMDLINE, Module};
use svm::addr::{HostPhys, PAGE_SIZE, page_ceil, page_floor};

use super::processors;
use crate::defect;
use crate::memory::image;

/// What the boot code maps: physical addresses up to here are linear addresses.
const MAPPED: u64 = 4 << 30;
/// What the hypervisor keeps for nested tables.
const TABLES_SIZE: u64 = 1 << 20;
/// And with the room for further processors.
const POOL_SIZE: u64 = TABLES_SIZE + processors::MAX as u64 * processors::ROOM;
/// How many spans the hypervisor keeps.
pub const KEPT: usize = 3;
/// Parameters, command line, and the page of `Extras`.
const LOW_PAGES: u64 = 3;
const CONVENTIONAL: Span = Span {
    start: PAGE_SIZE,
    end: 0xA_0000,
};
/// Below where operating systems look for firmware's tables, which begin at 512 KiB at the earliest, whatever the memory
/// map says; above the first 64 KiB, which Linux watches for a firmware that writes there.
const UNSEARCHED: Span = Span {
    start: 0x1_0000,
    end: 0x8_0000,
};
const ABOVE_1_MIB: Span = Span {
    start: 0x10_0000,
    end: MAPPED,
};
/// Greater than any firmware's map.
const MOST_AREAS: usize = 64;
const RSDP_SIZE: usize = 36;
const RSDP_OFFSET: u64 = 0x800;

/// What the boot protocol wants in the global descriptor table: nothing, nothing, code at 10h, data at 18h.
const GDT: [u64; 4] = [0, 0, 0x00CF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF];

/// Where the guest begins.
#[derive(Clone, Copy)]
pub struct Entry {
    /// The kernel's 32-bit entry point.
    pub code: u64,
    /// The page of boot parameters.
    pub parameters: u64,
    /// The global descriptor table.
    pub gdt: u64,
    /// Its limit.
    pub gdt_limit: u16,
}

/// Where everything goes. Nothing has been moved yet.
pub struct Plan<'a> {
    kernel: Kernel<'a>,
    cmdline: &'a [u8],
    ramdisk: Option<Span>,
    rsdp: u64,
    code: Span,
    low: Span,
    memory: MemoryMap,
    /// What the hypervisor keeps, in the order of addresses: a page below 1 MiB, where further processors start; its
    /// image; and the pool.
    pub hidden: [Span; KEPT],
}

impl<'a> Plan<'a> {
    /// Looks at the modules and finds room for them.
    pub fn make(handover: &'a Handover) -> Result<Self, &'static str> {
        let mut modules = handover.modules();
        let kernel_module = modules.next().ok_or("there is none; the first must be a bzImage")?;
        let ramdisk = modules.next().map(span);
        // SAFETY: the loader put the module there, and nothing has been moved yet.
        let kernel = Kernel::parse(unsafe { bytes(span(kernel_module)) })?;
        let cmdline = kernel_module.cmdline().ok_or("the kernel's command line is too long")?;
        if cmdline.len() > kernel.cmdline_max.min(MAX_MODULE_CMDLINE) {
            return Err("the kernel's command line is longer than the kernel takes");
        }
        if ramdisk.is_some_and(|span| span.end - 1 > kernel.ramdisk_max) {
            return Err("the initial RAM disk lies higher than the kernel takes");
        }

        let mut areas = [Area::default(); MOST_AREAS];
        let told = handover
            .areas()
            .ok_or("the loader gave no memory map, or too long a one")?;
        let areas = areas.get_mut(..told.len()).ok_or("the memory map is too long")?;
        for (area, told) in areas.iter_mut().zip(told) {
            *area = Area {
                span: Span {
                    start: told.start,
                    end: told.end,
                },
                kind: told.kind,
            };
        }

        let mut taken = Taken::default();
        taken.add(image());
        taken.add(span(kernel_module));
        ramdisk.into_iter().for_each(|span| taken.add(span));
        let pool = highest_place(
            areas,
            taken.sorted(),
            Wanted {
                size: POOL_SIZE,
                align: PAGE_SIZE,
                within: ABOVE_1_MIB,
            },
        );
        let pool = pool.ok_or("there is no memory left for nested tables")?;
        taken.add(pool);
        // Not below where it would like to be: there is what it was built for.
        let code = lowest_place(
            areas,
            taken.sorted(),
            Wanted {
                size: kernel.init_size,
                align: kernel.alignment,
                within: Span {
                    start: kernel.preferred,
                    end: MAPPED,
                },
            },
        );
        let startup = highest_place(
            areas,
            taken.sorted(),
            Wanted {
                size: PAGE_SIZE,
                align: PAGE_SIZE,
                within: UNSEARCHED,
            },
        );
        let startup = startup.ok_or("there is no memory left below 640 KiB")?;
        taken.add(startup);
        let low = lowest_place(
            areas,
            taken.sorted(),
            Wanted {
                size: LOW_PAGES * PAGE_SIZE,
                align: PAGE_SIZE,
                within: CONVENTIONAL,
            },
        );
        let hidden = [startup, image(), pool];
        let kept: &[Span] = if defect::MEMORY_OFFERED { &[] } else { &hidden };
        let memory = MemoryMap::without(areas.iter().copied(), kept).map_err(|_| "the memory map is too long")?;
        Ok(Self {
            kernel,
            cmdline,
            ramdisk,
            rsdp: handover.rsdp,
            code: code.ok_or("there is no memory left for the kernel")?,
            low: low.ok_or("there is no memory left below 640 KiB")?,
            memory,
            hidden,
        })
    }

    /// Puts everything into its place.
    ///
    /// # Safety
    /// May be called once, while the modules are as the loader left them and the loader's own memory is needed no more.
    pub unsafe fn load(&self) -> Entry {
        let (parameters, cmdline, extras) = (
            self.low.start,
            self.low.start + PAGE_SIZE,
            self.low.start + 2 * PAGE_SIZE,
        );
        let mut rsdp = 0;
        // SAFETY: the plan chose free memory for each, apart from the others and from the modules.
        unsafe {
            // The loader's own copy of the ACPI root pointer may be overwritten.
            if self.rsdp != 0 {
                rsdp = extras + RSDP_OFFSET;
                put(rsdp, bytes(Span::sized(self.rsdp, RSDP_SIZE as u64)));
            }
            put(self.code.start, self.kernel.code());
            put(cmdline, self.cmdline);
            put(cmdline + self.cmdline.len() as u64, &[0]);
            for (index, descriptor) in GDT.iter().enumerate() {
                put(extras + 8 * index as u64, &descriptor.to_le_bytes());
            }
            let page = self.kernel.parameters(&Parameters {
                code: self.code.start,
                cmdline,
                ramdisk: self.ramdisk,
                rsdp,
                memory: &self.memory,
            });
            put(parameters, &page);
        }
        Entry {
            code: self.code.start,
            parameters,
            gdt: extras,
            gdt_limit: (size_of_val(&GDT) - 1) as u16,
        }
    }

    /// Where the loader said that the ACPI tables begin, 0 if it did not.
    pub fn rsdp(&self) -> u64 {
        self.rsdp
    }

    /// Where further processors start.
    pub fn startup_page(&self) -> HostPhys {
        let [startup, _, _] = self.hidden;
        HostPhys(startup.start)
    }

    /// Where the nested tables' pages are, and how many.
    pub fn tables(&self) -> (HostPhys, u64) {
        let [_, _, pool] = self.hidden;
        (HostPhys(pool.start), TABLES_SIZE / PAGE_SIZE)
    }

    /// Where the room for further processors begins.
    pub fn room(&self) -> HostPhys {
        let [_, _, pool] = self.hidden;
        HostPhys(pool.start + TABLES_SIZE)
    }
}

/// Memory that is in use, in the order of addresses.
#[derive(Default)]
struct Taken {
    spans: [Span; 5],
    count: usize,
}

impl Taken {
    /// Whole pages: the last page of a module is nobody else's.
    fn add(&mut self, span: Span) {
        self.spans[self.count] = Span {
            start: page_floor(span.start),
            end: page_ceil(span.end).unwrap_or(span.end),
        };
        self.count += 1;
        self.spans[..self.count].sort_unstable_by_key(|span| span.start);
    }

    fn sorted(&self) -> &[Span] {
        &self.spans[..self.count]
    }
}

fn span(module: &Module) -> Span {
    Span {
        start: module.start,
        end: module.end,
    }
}

/// # Safety
/// The span is readable memory, which nobody writes while the slice lives.
unsafe fn bytes<'a>(span: Span) -> &'a [u8] {
    // SAFETY: the caller answers for it; linear is physical.
    unsafe { core::slice::from_raw_parts(span.start as *const u8, (span.end - span.start) as usize) }
}

/// # Safety
/// There is memory for `bytes` at `address` that nobody else uses.
unsafe fn put(address: u64, bytes: &[u8]) {
    // SAFETY: the caller answers for it; linear is physical.
    unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), address as *mut u8, bytes.len()) };
}
