//! What the probe and the harness exchange: docs/protocol.md, "The probe".

#![cfg_attr(not(test), no_std)]
#![warn(missing_docs)]

mod program;
mod results;

pub use program::{BadProgram, MAX_CODE, Program, Region, SCRATCH, SECTION_SIZE, Step, empty};
pub use results::{HEADER_SIZE, NO_FAULT, RESULT_SIZE, StepResult, header};

/// How many general registers a step starts and ends with: RAX RBX RCX RDX RSI RDI R8 R9 R10 R11.
pub const REGISTERS: usize = 10;
