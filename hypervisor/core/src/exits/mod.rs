//! The handlers of #VMEXIT, one subject a file. The run loop (`run.rs`) picks the handler by exit code.

pub mod control_register;
pub mod cpuid;
pub mod exception;
pub mod hypercall;
pub mod io;
pub mod msr;
pub mod svm_instruction;

use runtime::Outcome;

/// Vectors that handlers raise. APM vol. 2, 8.2.
pub const DEBUG: u8 = 1;
/// See [`DEBUG`].
pub const INVALID_OPCODE: u8 = 6;
/// See [`DEBUG`].
pub const GENERAL_PROTECTION: u8 = 13;
/// See [`DEBUG`].
pub const PAGE_FAULT: u8 = 14;

/// What a handler wants next.
#[must_use]
pub enum Next {
    /// VMRUN again.
    Resume,
    /// The handler does not know this case: report the exit, and end.
    Unhandled,
    /// That was all.
    End(End),
}

/// How it ended.
pub enum End {
    /// By itself: the `guest.end` record says how.
    Guest {
        how: &'static str,
        status: u64,
        outcome: Outcome,
    },
    /// It touched memory that it does not have.
    MemoryViolation,
}

impl Next {
    /// The guest executed HLT, and no interrupt will ever wake it: it has no device that raises one.
    pub const HALTED: Self = Self::End(End::Guest {
        how: "halt",
        status: 0,
        outcome: Outcome::GuestHalted,
    });
    /// The guest switched its machine off.
    pub const POWERED_OFF: Self = Self::End(End::Guest {
        how: "power-off",
        status: 0,
        outcome: Outcome::GuestFinished,
    });
    /// The guest reset its machine.
    pub const RESET: Self = Self::End(End::Guest {
        how: "reset",
        status: 0,
        outcome: Outcome::GuestReset,
    });
    /// A fault could not be delivered, nor the ones that followed.
    pub const SHUTDOWN: Self = Self::End(End::Guest {
        how: "shutdown",
        status: 0,
        outcome: Outcome::GuestShutdown,
    });
}
