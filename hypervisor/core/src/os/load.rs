//! From boot modules to a kernel in its place: the first module is a bzImage, with its command line, the second its
//! initial RAM disk. And a small guest that gets a whole machine.

use pc::bzimage::{Kernel, Parameters};
use pc::memory::{MemoryMap, Span, Wanted};
use runtime::handover::{Handover, MAX_MODULE_CMDLINE, Module};
use svm::addr::PAGE_SIZE;

use super::layout::{Layout, MAPPED};
use crate::guests::Image;
use crate::setup::{COUNT, ENTRY};

/// Parameters, command line, and a page for the rest.
const LOW_PAGES: u64 = 3;
const CONVENTIONAL: Span = Span {
    start: PAGE_SIZE,
    end: 0xA_0000,
};
const RSDP_SIZE: usize = 36;
const RSDP_OFFSET: u64 = 0x800;

/// What the boot protocol wants in the global descriptor table: nothing, nothing, code at 10h, data at 18h.
const GDT: [u64; 4] = [0, 0, 0x00CF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF];

/// How the guest begins.
#[derive(Clone, Copy)]
pub enum Entry {
    /// In protected mode, as Linux' boot protocol says.
    Kernel(KernelEntry),
    /// In real mode at 0000:7C00.
    RealMode,
}

/// Where a kernel begins.
#[derive(Clone, Copy)]
pub struct KernelEntry {
    /// Its 32-bit entry point.
    pub code: u64,
    /// The page of boot parameters.
    pub parameters: u64,
    /// The global descriptor table.
    pub gdt: u64,
    /// Its limit.
    pub gdt_limit: u16,
}

/// Puts a small guest where it wants to be.
///
/// # Safety
/// As of [`Plan::load`].
pub unsafe fn load_small(image: &Image, count: u64) -> Entry {
    // SAFETY: the caller says that conventional memory is free.
    unsafe {
        put(ENTRY.into(), image.bytes);
        put(COUNT.0, &count.to_le_bytes());
    }
    Entry::RealMode
}

/// Where everything of a kernel goes. Nothing has been moved yet.
pub struct Plan<'a> {
    kernel: Kernel<'a>,
    cmdline: &'a [u8],
    ramdisk: Option<Span>,
    rsdp: u64,
    code: Span,
    low: Span,
    memory: MemoryMap,
    /// Who has what of the memory.
    pub layout: Layout,
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

        let modules = [Some(span(kernel_module)), ramdisk];
        let mut layout = Layout::choose(handover, modules.into_iter().flatten())?;
        // Not below where it would like to be: there is what it was built for.
        let code = layout.place(Wanted {
            size: kernel.init_size,
            align: kernel.alignment,
            within: Span {
                start: kernel.preferred,
                end: MAPPED,
            },
        });
        let low = layout.place(Wanted {
            size: LOW_PAGES * PAGE_SIZE,
            align: PAGE_SIZE,
            within: CONVENTIONAL,
        });
        Ok(Self {
            kernel,
            cmdline,
            ramdisk,
            rsdp: handover.rsdp,
            code: code.ok_or("there is no memory left for the kernel")?,
            low: low.ok_or("there is no memory left below 640 KiB")?,
            memory: layout.told().map_err(|_| "the memory map is too long")?,
            layout,
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
        Entry::Kernel(KernelEntry {
            code: self.code.start,
            parameters,
            gdt: extras,
            gdt_limit: (size_of_val(&GDT) - 1) as u16,
        })
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
