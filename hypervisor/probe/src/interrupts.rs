//! The interrupt controllers as they were after boot, with nothing pending: APM vol. 2, 16.3 "Local APIC registers",
//! 16.6.4 "Servicing interrupts".

use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use runtime::msr::try_rdmsr;
use runtime::{Frame, exception, pic};
use svm::msr::APIC_BASE;

unsafe extern "sysv64" {
    fn let_interrupts_in();
}

const ENABLED: u64 = 1 << 11;
const X2APIC: u64 = 1 << 10;
const ADDRESS: u64 = 0xf_ffff_f000;
/// What the identity map reaches.
const MAPPED: u64 = 1 << 32;

const TASK_PRIORITY: usize = 0x80;
const PROCESSOR_PRIORITY: usize = 0xa0;
const END_OF_INTERRUPT: usize = 0xb0;
const SPURIOUS: usize = 0xf0;
const TIMER_COUNT: usize = 0x380;
/// The registers that are as after boot before interrupts are let in: priority, the local vector table, the divisor.
const REGISTERS: [usize; 8] = [TASK_PRIORITY, 0x320, 0x330, 0x340, 0x350, 0x360, 0x370, 0x3e0];
const VECTORS: usize = 256;

/// Where [`handle`] finds the local APIC while interrupts are let in.
static LOCAL_APIC: AtomicPtr<u32> = AtomicPtr::new(ptr::null_mut());

/// The local APIC after boot.
pub struct Interrupts {
    apic: Option<Apic>,
    registers: [u32; REGISTERS.len()],
    spurious: u32,
}

impl Interrupts {
    /// As they are now.
    pub fn read() -> Self {
        exception::take_over(handle);
        let apic = Apic::find();
        let read = |register| apic.as_ref().map_or(0, |apic| apic.read(register));
        Self {
            registers: REGISTERS.map(read),
            spurious: read(SPURIOUS),
            apic: Apic::find(),
        }
    }

    /// Brings that back, and takes every interrupt that is pending or in service.
    pub fn restore(&self) {
        pic::initialise();
        // A program that moved the local APIC, or switched it off, has the next one find it so.
        let (Some(_), Some(apic)) = (&self.apic, Apic::find()) else {
            return;
        };
        for (register, value) in REGISTERS.into_iter().zip(self.registers) {
            apic.settle(register, value);
        }
        if apic.read(TIMER_COUNT) != 0 {
            apic.write(TIMER_COUNT, 0);
        }
        for _ in 0..VECTORS {
            if apic.read(PROCESSOR_PRIORITY) == apic.read(TASK_PRIORITY) {
                break;
            }
            apic.write(END_OF_INTERRUPT, 0);
        }
        LOCAL_APIC.store(apic.0, Ordering::Relaxed);
        // SAFETY: `handle` takes whatever comes.
        unsafe { let_interrupts_in() }
        LOCAL_APIC.store(ptr::null_mut(), Ordering::Relaxed);
        apic.settle(SPURIOUS, self.spurious);
    }
}

/// The registers' page.
struct Apic(*mut u32);

impl Apic {
    fn find() -> Option<Self> {
        let base = try_rdmsr(APIC_BASE).ok()?;
        let usable = base & (ENABLED | X2APIC) == ENABLED && base & ADDRESS < MAPPED;
        usable.then_some(Self((base & ADDRESS) as *mut u32))
    }

    fn read(&self, register: usize) -> u32 {
        // SAFETY: the page is mapped, and it is the local APIC's because APIC_BASE says so.
        unsafe { self.0.byte_add(register).read_volatile() }
    }

    fn write(&self, register: usize, value: u32) {
        // SAFETY: as above; no register written here reaches memory.
        unsafe { self.0.byte_add(register).write_volatile(value) }
    }

    /// Under a hypervisor writes are dear, reads less so.
    fn settle(&self, register: usize, value: u32) {
        if self.read(register) != value {
            self.write(register, value);
        }
    }
}

/// Takes an interrupt or an NMI between steps; exceptions are the runtime's.
fn handle(frame: &mut Frame) -> bool {
    const NMI: u64 = 2;
    /// The lowest vector that the local APIC delivers.
    const LOWEST: u64 = 16;
    let apic = LOCAL_APIC.load(Ordering::Relaxed);
    if frame.vector < LOWEST || apic.is_null() {
        return frame.vector == NMI;
    }
    Apic(apic).write(END_OF_INTERRUPT, 0);
    true
}
