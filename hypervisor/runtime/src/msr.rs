//! Model-specific registers, read and written so that a #GP is a value and not the end.

use core::arch::asm;

use crate::fixup::Fault;

/// RDMSR.
pub fn try_rdmsr(msr: u32) -> Result<u64, Fault> {
    let (low, high, faulted): (u64, u64, u32);
    // SAFETY: RDMSR writes EAX and EDX only; if it faults, the fixup resumes at 3 with vector and error code in them.
    unsafe {
        asm!(
            "2: rdmsr",
            "xor {faulted:e}, {faulted:e}",
            "jmp 4f",
            "3: mov {faulted:e}, 1",
            "4:",
            ".pushsection .fixups, \"a\"",
            ".quad 2b, 3b",
            ".popsection",
            faulted = out(reg) faulted,
            in("ecx") msr,
            out("rax") low,
            out("rdx") high,
            options(nomem),
        );
    }
    match faulted {
        0 => Ok(high << 32 | low & 0xFFFF_FFFF),
        _ => Err(Fault {
            vector: low as u8,
            error: high as u32,
        }),
    }
}

/// WRMSR.
///
/// # Safety
/// The value must not break what Rust stands on: memory mapping, the processor's mode, the stack.
pub unsafe fn try_wrmsr(msr: u32, value: u64) -> Result<(), Fault> {
    let (vector, error, faulted): (u64, u64, u32);
    // SAFETY: the caller answers for the value; if WRMSR faults, the fixup resumes at 3 with vector and error code.
    unsafe {
        asm!(
            "2: wrmsr",
            "xor {faulted:e}, {faulted:e}",
            "jmp 4f",
            "3: mov {faulted:e}, 1",
            "4:",
            ".pushsection .fixups, \"a\"",
            ".quad 2b, 3b",
            ".popsection",
            faulted = out(reg) faulted,
            in("ecx") msr,
            inout("rax") value & 0xFFFF_FFFF => vector,
            inout("rdx") value >> 32 => error,
        );
    }
    match faulted {
        0 => Ok(()),
        _ => Err(Fault {
            vector: vector as u8,
            error: error as u32,
        }),
    }
}
