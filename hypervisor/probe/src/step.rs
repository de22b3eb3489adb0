//! One step: its code on a page of its own, the crossing into it, and what is known when it ends.

use core::cell::UnsafeCell;
use core::mem::{offset_of, size_of};

use probe_format::{MAX_CODE, NO_FAULT, REGISTERS, Step, StepResult};

/// What `step.asm` loads before a step and stores after it.
#[repr(C)]
struct Crossing {
    /// RAX RBX RCX RDX RSI RDI R8 R9 R10 R11: in and out.
    registers: [u64; REGISTERS],
    /// In: where to enter. Out: where the exception happened.
    rip: u64,
    /// Out.
    rflags: u64,
    /// Out.
    cr2: u64,
    /// Out: the exception's or interrupt's vector.
    vector: u64,
    /// Out: its error code, 0 if it has none.
    error: u64,
    /// In: 1 to enter at CPL 3, 0 at CPL 0.
    user: u64,
}

// The `struc Crossing` of step.asm.
const _: () = assert!(offset_of!(Crossing, rip) == 80);
const _: () = assert!(offset_of!(Crossing, rflags) == 88);
const _: () = assert!(offset_of!(Crossing, cr2) == 96);
const _: () = assert!(offset_of!(Crossing, vector) == 104);
const _: () = assert!(offset_of!(Crossing, error) == 112);
const _: () = assert!(offset_of!(Crossing, user) == 120);
const _: () = assert!(size_of::<Crossing>() == 128);

unsafe extern "sysv64" {
    fn build_step_tables();
    fn run_step(crossing: *mut Crossing);
}

/// `int 81h`, the end of a step.
const END: [u8; 2] = [0xcd, 0x81];
const END_VECTOR: u64 = 0x81;
/// `int3`: what a step meets that jumps past its end.
const FILL: u8 = 0xcc;
const CODE_PAGE: usize = 4096;

#[repr(C, align(4096))]
struct CodePage(UnsafeCell<[u8; CODE_PAGE]>);

// SAFETY: one processor and no interrupts; written between steps and executed during a step.
unsafe impl Sync for CodePage {}

/// By name, so that an observer can stop where every step begins.
#[unsafe(export_name = "svmconf_step_code")]
static CODE: CodePage = CodePage(UnsafeCell::new([FILL; CODE_PAGE]));

/// Builds the descriptor tables that are loaded while a step runs. To be called before the first step.
pub fn prepare() {
    // SAFETY: it writes only to tables of its own.
    unsafe { build_step_tables() }
}

/// Executes a step. EFER and VM_HSAVE_PA of the result are left 0.
pub fn run(step: &Step<'_>) -> StepResult {
    let start = CODE.0.get();
    let mut page = [FILL; CODE_PAGE];
    let length = step.code.len();
    const { assert!(MAX_CODE + END.len() <= CODE_PAGE) };
    page[..length].copy_from_slice(step.code);
    page[length..length + END.len()].copy_from_slice(&END);
    // SAFETY: no step runs, so nobody else looks at the page. Volatile, because the processor is its only reader.
    unsafe { start.write_volatile(page) };

    let mut crossing = Crossing {
        registers: step.registers,
        rip: start as u64,
        rflags: 0,
        cr2: 0,
        vector: 0,
        error: 0,
        user: step.user.into(),
    };
    // SAFETY: the crossing and the page outlive the call, the tables are built, and step.asm comes back with all that
    // Rust stands on as it was. What the step itself does to memory is the program's responsibility.
    unsafe { run_step(&raw mut crossing) };

    let rip = crossing.rip.wrapping_sub(start as u64);
    let after_end = (length + END.len()) as u64;
    let finished = crossing.vector == END_VECTOR && rip == after_end;
    StepResult {
        vector: if finished { NO_FAULT } else { crossing.vector as u32 },
        error: crossing.error as u32,
        rip: if finished { length as u64 } else { rip },
        cr2: crossing.cr2,
        efer: 0,
        rflags: crossing.rflags,
        registers: crossing.registers,
        vm_hsave_pa: 0,
    }
}
