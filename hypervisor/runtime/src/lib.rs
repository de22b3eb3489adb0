//! What the hypervisor and the probe stand on: boot, descriptor tables, exceptions, the console, records, the end.
//!
//! An image that uses this crate
//! 1. calls `svmconf_build::link_image` in its build script,
//! 2. defines `#[unsafe(no_mangle)] fn image_main(boot: &Boot) -> !`,
//! 3. ends with [`exit`].
//!
//! The modules that touch the machine are left out of the host's unit tests; the pure ones are [`cmdline`],
//! [`handover`], [`outcome`] and [`record`].
#![cfg_attr(not(test), no_std)]
#![warn(missing_docs)]

pub mod cmdline;
pub mod handover;
pub mod outcome;
pub mod record;

#[cfg(not(test))]
pub mod boot;
#[cfg(not(test))]
pub mod console;
#[cfg(not(test))]
pub mod cpuid;
#[cfg(not(test))]
pub mod descriptors;
#[cfg(not(test))]
pub mod exception;
#[cfg(not(test))]
pub mod fixup;
#[cfg(not(test))]
mod loader;
#[cfg(not(test))]
pub mod msr;
#[cfg(not(test))]
mod panic;
#[cfg(not(test))]
pub mod pic;
#[cfg(not(test))]
pub mod timer;

pub use outcome::Outcome;
pub use record::Record;

#[cfg(not(test))]
pub use boot::{Boot, exit};
#[cfg(not(test))]
pub use exception::Frame;
