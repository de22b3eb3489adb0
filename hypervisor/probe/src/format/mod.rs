//! What the probe and the harness exchange: docs/protocol.md, "The probe". Nothing here touches the machine.

#![cfg_attr(not(test), no_std)]
#![warn(missing_docs)]

mod bad;
mod batch;
mod bytes;
mod changes;
mod memory;
mod program;
mod recorder;
mod results;
mod settle;
mod step;

pub use bad::{Bad, Why};
pub use batch::{Batch, EMPTY, HEADER_SIZE, MAX_SIZE};
pub use changes::changes;
pub use memory::{HIGH_SCRATCH, LOW_SCRATCH, MAX_WATCHED, RAM_SIZE, Region, Watch};
pub use program::Program;
pub use recorder::{Full, Recorder};
pub use results::{NO_FAULT, StepHead};
pub use settle::settle;
pub use step::{MAX_CODE, Mode, REGISTERS, RSP, Step, XMM_SIZE};

#[cfg(test)]
mod tests;
