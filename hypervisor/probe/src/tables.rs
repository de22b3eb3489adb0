//! Descriptor tables that are loaded while a step runs, and what else asm/ finds built.
//!
//! APM vol. 2, 4.7 "Legacy segment descriptors", 4.8 "Long-mode segment descriptors", 8.2 "Vectors", 12.2 "Task-management
//! resources", 5.2.3 "PAE paging".

use core::mem::{offset_of, size_of};

use probe_format::Mode;

use crate::fixed::Fixed;

const VECTORS: usize = 256;
const STUB_SIZE: u64 = 16;
const DOUBLE_FAULT: usize = 8;
const STACK_SIZE: usize = 4096;

const KERNEL_CODE: u16 = 1 << 3;
const KERNEL_DATA: u16 = 2 << 3;
const KERNEL_CODE32: u16 = 12 << 3;

/// Where in the GDT the segments for each CPL are. The first seven slots are those of runtime/src/descriptors.rs.
const DATA: [u64; 4] = [2, 8, 10, 3];
const CODE64: [u64; 4] = [1, 9, 11, 4];
const CODE32: [u64; 4] = [12, 13, 14, 15];
const CODE16: [u64; 4] = [16, 17, 18, 19];
const TASK64: usize = 5;
const TASK32: usize = 7;
const LOW_CODE16: usize = 20;
const LOW_DATA16: usize = 21;
const SLOTS: usize = 22;

/// Accessed, readable or writable, present; 64-bit or 32-bit with 4-KiB granularity; and a limit of all ones.
const FLAT_DATA: u64 = 0x00cf_9300_0000_ffff;
const FLAT_CODE64: u64 = 0x00af_9b00_0000_ffff;
const FLAT_CODE32: u64 = 0x00cf_9b00_0000_ffff;
/// The same with 64 KiB.
const SMALL_DATA: u64 = 0x0000_9300_0000_ffff;
const SMALL_CODE: u64 = 0x0000_9b00_0000_ffff;
const TASK: u64 = 0x0000_8900_0000_0067;
const DPL: u32 = 45;

const fn with_base(descriptor: u64, base: u64) -> u64 {
    descriptor | (base & 0xff_ffff) << 16 | (base >> 24 & 0xff) << 56
}

/// CS and SS for a step in protected mode or long mode.
pub fn selectors(mode: Mode, cpl: u8) -> (u64, u64) {
    let level = usize::from(cpl);
    let code = match mode {
        Mode::Long => CODE64,
        Mode::Compatibility16 | Mode::Protected16 => CODE16,
        _ => CODE32,
    };
    let rpl = u64::from(cpl);
    (code[level] << 3 | rpl, DATA[level] << 3 | rpl)
}

/// Where the handler of a vector begins in long mode.
pub fn stub64(vector: u64) -> u64 {
    (&raw const stubs64) as u64 + vector * STUB_SIZE
}

/// 12.2.4 and 12.2.5: the two formats have the size and the I/O map's place in common.
#[repr(C, packed)]
struct Task {
    /// 64-bit: reserved, RSP0. 32-bit: link, ESP0, SS0.
    head: [u32; 3],
    middle: [u32; 6],
    /// 64-bit only.
    ist1: u64,
    rest: [u8; 0x66 - 0x2c],
    io_map: u16,
}

const _: () = assert!(offset_of!(Task, ist1) == 0x24);
const _: () = assert!(offset_of!(Task, io_map) == 0x66);
const _: () = assert!(size_of::<Task>() == 0x68);

impl Task {
    /// Beyond the limit: CPL 3 has no ports.
    const EMPTY: Self = Self {
        head: [0; 3],
        middle: [0; 6],
        ist1: 0,
        rest: [0; 0x66 - 0x2c],
        io_map: size_of::<Self>() as u16,
    };
}

#[repr(C)]
struct Tables {
    gdt: [u64; SLOTS],
    idt64: [[u64; 2]; VECTORS],
    idt32: [u64; VECTORS],
    task64: Task,
    task32: Task,
}

static TABLES: Fixed<Tables> = Fixed::new(Tables {
    gdt: [0; SLOTS],
    idt64: [[0; 2]; VECTORS],
    idt32: [0; VECTORS],
    task64: Task::EMPTY,
    task32: Task::EMPTY,
});
/// For exceptions outside CPL 0 in long mode.
static TRAP_STACK: Fixed<[u8; STACK_SIZE]> = Fixed::new([0; STACK_SIZE]);
/// For #DF in long mode, when a step at CPL 0 has spoilt RSP.
static SPARE_STACK: Fixed<[u8; STACK_SIZE]> = Fixed::new([0; STACK_SIZE]);

#[repr(C, packed)]
struct Pointer {
    limit: u16,
    base: u64,
}

unsafe extern "C" {
    static stubs64: u8;
    static stubs32: u8;
    static legacy_stack_top: u8;
    static from_real: u8;
    static mut step_gdtr: Pointer;
    static mut step_idtr: Pointer;
    static mut legacy_idtr: Pointer;
    static mut pae_pdpt: [u64; 4];
    static host_cr3: u64;
}

/// The beginning of the code that is copied below 1 MiB: real.asm.
#[repr(C)]
pub struct RealHead {
    /// EAX ECX EDX EBX ESP EBP ESI EDI: in and out.
    pub registers: [u32; 8],
    /// In and, the lower half, out.
    pub eflags: u32,
    /// Out.
    pub ip: u16,
    /// Out.
    pub cs: u16,
    /// Out.
    pub vector: u32,
    gdtr: [u16; 4],
    back: u32,
    back_selector: u32,
}

const _: () = assert!(offset_of!(RealHead, vector) == 40);
const _: () = assert!(offset_of!(RealHead, back) == 52);

const REAL_CODE: &[u8] = include_bytes!(env!("REAL_MODE_CODE"));
const REAL_BASE: u64 = 0x9000;
const _: () = assert!(
    REAL_BASE as usize + REAL_CODE.len() <= 0x1_0000,
    "the scratch memory begins there"
);
/// Where it is.
pub const REAL_HEAD: *mut RealHead = REAL_BASE as *mut RealHead;

/// Builds all of it. To be called once, after the state between steps is known.
pub fn prepare() {
    // SAFETY: nothing of it is in use before the first step; the page tables are only read; and nothing but this code
    // is in low memory, for what the loader left there was read.
    unsafe {
        let tables = &mut *TABLES.get();
        build(tables);
        core::ptr::copy_nonoverlapping(REAL_CODE.as_ptr(), REAL_BASE as *mut u8, REAL_CODE.len());
        let gdt = (&raw const tables.gdt) as u32;
        (*REAL_HEAD).gdtr = [(SLOTS * 8 - 1) as u16, gdt as u16, (gdt >> 16) as u16, 0];
        (*REAL_HEAD).back = (&raw const from_real) as u32;
    }
}

fn build(tables: &mut Tables) {
    let gdt = &mut tables.gdt;
    let step_code = crate::pages::first();
    for level in 0..4 {
        let dpl = (level as u64) << DPL;
        gdt[DATA[level] as usize] = FLAT_DATA | dpl;
        gdt[CODE64[level] as usize] = FLAT_CODE64 | dpl;
        gdt[CODE32[level] as usize] = FLAT_CODE32 | dpl;
        gdt[CODE16[level] as usize] = with_base(SMALL_CODE, step_code) | dpl;
    }
    gdt[LOW_CODE16] = with_base(SMALL_CODE, REAL_BASE);
    gdt[LOW_DATA16] = SMALL_DATA;
    // Everything is below 4 GiB, so the upper half of the 64-bit TSS' descriptor is 0.
    gdt[TASK64] = with_base(TASK, (&raw const tables.task64) as u64);
    gdt[TASK32] = with_base(TASK, (&raw const tables.task32) as u64);

    tables.task64.head[1] = TRAP_STACK.end() as u32;
    tables.task64.ist1 = SPARE_STACK.end();
    tables.task32.head[1] = (&raw const legacy_stack_top) as u32;
    tables.task32.head[2] = KERNEL_DATA.into();

    for vector in 0..VECTORS {
        // DPL 3, so that a step may end at any CPL; the others, so that INT n of a step is what it seems.
        let dpl = if vector == 0x81 { 3 } else { 0 };
        // No IST, so that at CPL 0 a step may load any TSS and still end; but #DF uses one, as its usual cause here is
        // a stack that cannot be pushed on.
        let ist = u64::from(vector == DOUBLE_FAULT);
        let stub32 = (&raw const stubs32) as u64 + vector as u64 * STUB_SIZE;
        tables.idt64[vector] = [gate(stub64(vector as u64), KERNEL_CODE, dpl) | ist << 32, 0];
        tables.idt32[vector] = gate(stub32, KERNEL_CODE32, dpl);
    }

    // SAFETY: as in `prepare`.
    unsafe {
        step_gdtr = pointer(&tables.gdt);
        step_idtr = pointer(&tables.idt64);
        legacy_idtr = pointer(&tables.idt32);
    }
}

/// An interrupt gate: the eight bytes that both formats have in common.
const fn gate(address: u64, selector: u16, dpl: u64) -> u64 {
    const INTERRUPT_GATE: u64 = 0x8e << 40;
    address & 0xffff | (selector as u64) << 16 | INTERRUPT_GATE | dpl << DPL | (address >> 16 & 0xffff) << 48
}

fn pointer<T>(table: &T) -> Pointer {
    Pointer {
        limit: (size_of::<T>() - 1) as u16,
        base: table as *const T as u64,
    }
}

/// Maps the first 4 GiB for PAE paging. To be called before each step that uses it: QEMU's walk sets accessed bits in
/// PDPTEs, where they are reserved, and KVM in it refuses them at the next load.
///
/// # Safety
/// No step may run, and the state between steps must be known.
pub unsafe fn map_pae() {
    // The page directories are those of long mode: they have the same form, and a PDPTE has no rights.
    const PRESENT: u64 = 1;
    const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
    // SAFETY: `host_cr3` names the boot tables, linear is physical, and 4 GiB are mapped.
    unsafe {
        let pml4 = (host_cr3 & ADDRESS) as *const u64;
        let pdpt = (pml4.read() & ADDRESS) as *const u64;
        pae_pdpt = core::array::from_fn(|n| pdpt.add(n).read() & ADDRESS | PRESENT);
    }
}
