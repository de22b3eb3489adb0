//! AMD Secure Virtual Machine (SVM) as data: what volume 2 of the AMD64 Architecture Programmer's Manual (24593)
//! says in chapter 15 and appendices B and C, in types that a hypervisor uses and a host-side test can exercise.
//!
//! Nothing in here executes a privileged instruction. Whatever has to be read from a processor (CPUID, MSRs, guest
//! memory) comes in as a value or a closure, so that every decision is a function that runs anywhere.
//!
//! Names such as `SVM-15.5.1-C-022` are ids of the requirements catalogue.
#![cfg_attr(not(test), no_std)]
#![warn(missing_docs)]

pub mod addr;
pub mod asids;
pub mod checks;
pub mod enable;
pub mod escalation;
pub mod exit;
pub mod features;
pub mod insn;
pub mod intercepts;
pub mod iopm;
pub mod msr;
pub mod msrpm;
pub mod npt;
pub mod pending;
pub mod redelivery;
pub mod regs;
pub mod system_registers;
pub mod vmcb;
pub mod walk;
