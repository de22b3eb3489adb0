//! The PC that a guest finds when it is a whole operating system and has the machine almost for itself: what memory it
//! is told of, how its kernel is loaded, and one table each for CPUID, MSRs and ports that says what is passed through,
//! what is emulated, and why.
//!
//! Nothing in here touches the machine: values come in, decisions come out, and host-side tests exercise both.
#![cfg_attr(not(test), no_std)]
#![warn(missing_docs)]

pub mod acpi;
pub mod apic;
pub mod bzimage;
pub mod code;
pub mod memory;
pub mod mmio;
pub mod policy;
