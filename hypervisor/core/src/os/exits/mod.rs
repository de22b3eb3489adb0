//! The handlers of #VMEXIT of an operating system, one subject a file.

pub mod cpuid;
pub mod event;
pub mod halt;
pub mod invalid;
pub mod msr;
pub mod nested;
pub mod port;
