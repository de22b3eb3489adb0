//! The processor's state at the beginning of a program: as it was after boot.

use runtime::msr::{try_rdmsr, try_wrmsr};
use svm::msr::{self, EFER, VM_HSAVE_PA};

use crate::interrupts::Interrupts;

unsafe extern "sysv64" {
    fn reset_registers();
}

/// What a program with RESET finds as it was after boot, besides EFER.
const REGISTERS: [u32; 11] = [
    VM_HSAVE_PA,
    msr::STAR,
    msr::LSTAR,
    msr::CSTAR,
    msr::SFMASK,
    msr::KERNEL_GS_BASE,
    msr::SYSENTER_CS,
    msr::SYSENTER_ESP,
    msr::SYSENTER_EIP,
    msr::PAT,
    msr::DEBUG_CTL,
];

/// The state after boot.
pub struct AfterBoot {
    efer: u64,
    registers: [Option<u64>; REGISTERS.len()],
    interrupts: Interrupts,
}

impl AfterBoot {
    /// The state as it is now. A register that cannot be read is left alone for ever.
    pub fn read() -> Self {
        Self {
            efer: try_rdmsr(EFER).unwrap_or(0),
            registers: REGISTERS.map(|register| try_rdmsr(register).ok()),
            interrupts: Interrupts::read(),
        }
    }

    /// Brings it back: EFER and the debug registers always, the rest with `reset`.
    pub fn restore(&self, reset: bool) {
        // SAFETY: it writes CR2 and debug registers, which nothing here stands on.
        unsafe { reset_registers() }
        if reset {
            for (register, value) in REGISTERS.into_iter().zip(self.registers) {
                if let Some(value) = value {
                    put_back(register, value);
                }
            }
            self.interrupts.restore();
        }
        put_back(EFER, self.efer);
    }
}

/// Writes a register if it reads different. A value that was there before cannot break anything; if it is refused, so be
/// it.
fn put_back(register: u32, value: u64) {
    if try_rdmsr(register).is_ok_and(|now| now != value) {
        // SAFETY: these are values from after boot, with which Rust has run.
        let _ = unsafe { try_wrmsr(register, value) };
    }
}
