//! The crossing into a step and back: what `asm/` loads before it and stores after it.

use core::mem::{offset_of, size_of};

use probe_format::{Mode, NO_FAULT, REGISTERS, RSP, Step, StepHead, XMM_SIZE};

use crate::fixed::Fixed;
use crate::tables::{REAL_HEAD, RealHead, map_pae, selectors, stub64};

/// `struc Crossing` of crossing.inc.
#[repr(C)]
struct Crossing {
    registers: [u64; REGISTERS],
    rip: u64,
    cs: u64,
    rflags: u64,
    ss: u64,
    vector: u64,
    error: u64,
    cr2: u64,
    efer: u64,
    time: u64,
    way: u64,
    use_xmm: u64,
    reserved: u64,
    xmm: [u64; XMM_SIZE / 8],
}

const _: () = assert!(offset_of!(Crossing, rip) == 0x80);
const _: () = assert!(offset_of!(Crossing, ss) == 0x98);
const _: () = assert!(offset_of!(Crossing, efer) == 0xb8);
const _: () = assert!(offset_of!(Crossing, way) == 0xc8);
const _: () = assert!(offset_of!(Crossing, xmm) == 0xe0);
const _: () = assert!(size_of::<Crossing>() == 0x1e0);

/// `WAY_*` of crossing.inc.
const fn way(mode: Mode) -> u64 {
    match mode {
        Mode::Long | Mode::Compatibility32 | Mode::Compatibility16 => 0,
        Mode::Protected32 | Mode::Protected16 => 1,
        Mode::Pae32 => 2,
        Mode::Virtual8086 => 3,
        Mode::Real => 4,
    }
}

unsafe extern "sysv64" {
    fn remember_host();
    fn run_step();
    #[link_name = "crossing"]
    static mut CROSSING: Crossing;
}

const END_VECTOR: u64 = 0x81;
const END_SIZE: u64 = 2;
const NMI: u64 = 2;
const GENERAL_PROTECTION: u64 = 13;

const RFLAGS_ALWAYS: u64 = 1 << 1;
const RFLAGS_IOPL_3: u64 = 3 << 12;
const RFLAGS_VM: u64 = 1 << 17;

/// The segment of the code in real mode and virtual-8086 mode.
const LOW_SEGMENT: u64 = 0x800;

/// What a step finds in RSP when none is given.
static STACK: Fixed<[u8; 4096]> = Fixed::new([0; 4096]);
const LOW_STACK_TOP: u64 = 0x8000;

/// What a step left, beyond what its head says.
pub struct Left {
    /// The beginning of its record.
    pub head: StepHead,
    /// All registers.
    pub registers: [u64; REGISTERS],
    /// EFER.
    pub efer: u64,
    /// The difference of the TSC, when it was to be measured.
    pub time: u64,
}

/// Remembers what the processor's state is between steps. To be called before the first step.
pub fn prepare() {
    // SAFETY: it reads registers and writes variables of its own.
    unsafe { remember_host() }
}

/// Executes a step whose code begins at `start`.
pub fn run(step: &Step<'_>, start: u64) -> Left {
    let given = step.registers(if is_low(step.mode) { LOW_STACK_TOP } else { STACK.end() });
    let crossing = &raw mut CROSSING;
    // SAFETY: `crossing` is only used here and, while `run_step` is called, by asm/; the tables are built, and asm/ comes
    // back with all that Rust stands on as it was. What the step itself does to memory is the program's responsibility.
    unsafe {
        load(&mut *crossing, step, start, given);
        run_step();
        if step.mode == Mode::Real {
            store_real(&mut *crossing, &*REAL_HEAD);
        }
        unwind_late_nmi(&mut *crossing);
        judge(&*crossing, step, start, &given)
    }
}

/// Whether the code lies below 1 MiB and a segment is 16 times its selector.
const fn is_low(mode: Mode) -> bool {
    matches!(mode, Mode::Real | Mode::Virtual8086)
}

/// Says what `run_step` shall do.
///
/// # Safety
/// No step may run.
unsafe fn load(crossing: &mut Crossing, step: &Step<'_>, start: u64, registers: [u64; REGISTERS]) {
    let is_virtual = step.mode == Mode::Virtual8086;
    let has_base = is_low(step.mode) || matches!(step.mode, Mode::Compatibility16 | Mode::Protected16);
    crossing.registers = registers;
    crossing.rip = if has_base { 0 } else { start };
    (crossing.cs, crossing.ss) = match step.mode {
        Mode::Real | Mode::Virtual8086 => (LOW_SEGMENT, 0),
        mode => selectors(mode, step.cpl),
    };
    let rflags = step.rflags.unwrap_or(if is_virtual { RFLAGS_IOPL_3 } else { 0 });
    crossing.rflags = rflags | RFLAGS_ALWAYS | if is_virtual { RFLAGS_VM } else { 0 };
    crossing.time = step.time().into();
    crossing.way = way(step.mode);
    crossing.use_xmm = step.xmm.is_some().into();
    for (register, value) in crossing.xmm.iter_mut().zip(step.xmm.unwrap_or(&[]).chunks_exact(8)) {
        *register = u64::from_le_bytes(value.try_into().expect("eight bytes"));
    }
    // SAFETY: the caller says that no step runs; nobody else uses this memory.
    unsafe {
        match step.mode {
            Mode::Real => load_real(crossing, &mut *REAL_HEAD),
            Mode::Pae32 => map_pae(),
            _ => {}
        }
    }
}

/// An emulator may deliver an NMI that a step sends to itself only when it looks: after the INT that ends the step, on
/// the first instruction of its handler. Then the handler's frame is what the step left.
///
/// # Safety
/// The crossing must hold what `run_step` left.
unsafe fn unwind_late_nmi(crossing: &mut Crossing) {
    if crossing.vector == NMI && crossing.rip == stub64(END_VECTOR) {
        // SAFETY: the handler was entered, so its frame is where RSP was.
        let [rip, cs, rflags, rsp] = unsafe { *(crossing.registers[RSP] as *const [u64; 4]) };
        crossing.rip = rip - END_SIZE;
        (crossing.cs, crossing.rflags, crossing.registers[RSP]) = (cs, rflags, rsp);
    }
}

/// What became of the step.
fn judge(left: &Crossing, step: &Step<'_>, start: u64, given: &[u64; REGISTERS]) -> Left {
    // Where there are 32 bits, the upper halves and the upper registers are not the step's.
    let visible = |n: usize, value: u64| match step.mode {
        Mode::Long => value,
        _ if n < 8 => value & u64::from(u32::MAX),
        _ => given[n],
    };
    let mut registers = left.registers;
    let mut changed = 0;
    for (n, value) in registers.iter_mut().enumerate() {
        *value = visible(n, *value);
        changed |= u16::from(*value != visible(n, given[n])) << n;
    }
    let rip = match step.mode {
        Mode::Real | Mode::Virtual8086 => linear(left.cs, left.rip).wrapping_sub(start),
        Mode::Compatibility16 | Mode::Protected16 => left.rip,
        _ => left.rip.wrapping_sub(start),
    };
    let length = step.code.len() as u64;
    // With IOPL below 3, virtual-8086 mode may not even execute the INT that ends the step.
    let refused_end = step.mode == Mode::Virtual8086 && left.vector == GENERAL_PROTECTION && rip == length;
    let finished = refused_end || (left.vector == END_VECTOR && rip == length + END_SIZE);
    Left {
        head: StepHead {
            vector: if finished { NO_FAULT } else { left.vector as u32 },
            error: if finished { 0 } else { left.error as u32 },
            registers: changed,
            rip: if finished { length } else { rip },
            rflags: left.rflags,
            cr2: left.cr2,
            ..StepHead::default()
        },
        registers,
        efer: left.efer,
        time: left.time,
    }
}

/// XMM0-15 after the last step that ran, when it was to use them.
pub fn xmm() -> [u64; XMM_SIZE / 8] {
    let crossing = &raw const CROSSING;
    // SAFETY: no step runs, so nobody else uses it.
    unsafe { (*crossing).xmm }
}

/// The linear address of CS:IP where a segment is 16 times its selector.
const fn linear(cs: u64, ip: u64) -> u64 {
    (cs & 0xffff) * 16 + (ip & 0xffff)
}

/// Real mode can only reach a head of its own, which is below 1 MiB.
fn load_real(crossing: &Crossing, head: &mut RealHead) {
    for (low, value) in head.registers.iter_mut().zip(crossing.registers) {
        *low = value as u32;
    }
    head.eflags = crossing.rflags as u32;
}

fn store_real(crossing: &mut Crossing, head: &RealHead) {
    for (value, low) in crossing.registers.iter_mut().zip(head.registers) {
        *value = low.into();
    }
    crossing.rflags = (head.eflags & 0xffff).into();
    crossing.rip = head.ip.into();
    crossing.cs = head.cs.into();
    crossing.vector = head.vector.into();
    crossing.error = 0;
}
