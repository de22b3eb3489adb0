//! Model-specific registers, read and written so that a #GP is a value and not the end.

use crate::fixup::Fault;

/// RAX and RDX as the routines of `asm/sensitive.asm` return them.
#[repr(C)]
struct Answer {
    value: u64,
    faulted: u64,
}

unsafe extern "sysv64" {
    fn sensitive_rdmsr(msr: u32) -> Answer;
    fn sensitive_wrmsr(msr: u32, value: u64) -> Answer;
}

impl Answer {
    fn into_result(self) -> Result<u64, Fault> {
        match self.faulted {
            0 => Ok(self.value),
            _ => Err(Fault {
                vector: self.value as u8,
                error: (self.value >> 32) as u32,
            }),
        }
    }
}

/// RDMSR.
pub fn try_rdmsr(msr: u32) -> Result<u64, Fault> {
    // SAFETY: RDMSR changes no memory; if it faults, its fixup makes that the answer.
    unsafe { sensitive_rdmsr(msr) }.into_result()
}

/// WRMSR.
///
/// # Safety
/// The value must not break what Rust stands on: memory mapping, the processor's mode, the stack.
pub unsafe fn try_wrmsr(msr: u32, value: u64) -> Result<(), Fault> {
    // SAFETY: the caller answers for the value; if WRMSR faults, its fixup makes that the answer.
    unsafe { sensitive_wrmsr(msr, value) }.into_result().map(|_| ())
}
