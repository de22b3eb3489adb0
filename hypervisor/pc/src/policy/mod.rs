//! What the guest sees of the processor and of the machine: one table each for CPUID, MSRs and ports.
//!
//! The rule: what cannot harm the hypervisor is passed through, what could is emulated or refused, and each says why.

pub mod cpuid;
pub mod msr;
pub mod port;
pub mod quirk;
