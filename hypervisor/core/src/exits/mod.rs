//! The handlers of #VMEXIT, one subject a file. The run loop (`run.rs`) picks the handler by exit code.

pub mod control_register;
pub mod cpuid;
pub mod exception;
pub mod hypercall;
pub mod io;
pub mod memory;
pub mod msr;
pub mod svm_instruction;

/// Vectors that handlers raise. APM vol. 2, 8.2.
pub const DEBUG: u8 = 1;
/// See [`DEBUG`].
pub const DOUBLE_FAULT: u8 = 8;
/// See [`DEBUG`].
pub const INVALID_OPCODE: u8 = 6;
/// See [`DEBUG`].
pub const GENERAL_PROTECTION: u8 = 13;
/// See [`DEBUG`].
pub const PAGE_FAULT: u8 = 14;

/// What a handler wants next. Small enough to be returned in registers.
#[must_use]
pub enum Next {
    /// VMRUN again.
    Resume,
    /// The handler does not know this case: report the exit, and end.
    Unhandled,
    /// That was all.
    End(End),
}

impl Next {
    /// See [`End::Halt`].
    pub const HALTED: Self = Self::End(End::Halt);
    /// See [`End::PowerOff`].
    pub const POWERED_OFF: Self = Self::End(End::PowerOff);
    /// See [`End::Reset`].
    pub const RESET: Self = Self::End(End::Reset);
    /// See [`End::Shutdown`].
    pub const SHUTDOWN: Self = Self::End(End::Shutdown);
}

/// How it ended.
pub enum End {
    /// It said so, with a status.
    Exit(u64),
    /// It executed HLT, and nothing will ever wake it.
    Halt,
    /// It switched its machine off.
    PowerOff,
    /// It reset its machine.
    Reset,
    /// A fault could not be delivered, nor the ones that followed.
    Shutdown,
    /// It touched memory that it does not have.
    MemoryViolation,
}
