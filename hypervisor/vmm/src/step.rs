//! Going on from where a machine stands: a step over one instruction, or until something stops it.
//!
//! An instruction that we know is stepped over without the trap flag: breakpoints behind it and at the handlers of the
//! faults that it can raise. The trap flag would show in the frame that a fault leaves, and would stay set behind an
//! IRET from it. VMRUN is not executed by a step: its guest may run for long. It is executed, past a breakpoint on it,
//! when the machine goes on.

use std::collections::BTreeMap;
use std::io;

use crate::machine::{Machine, Mode, Stop, Watch};
use crate::points::Owner;

const LONG_MODE_ACTIVE: u64 = 1 << 10;
const PROTECTED: u64 = 1;
const GATE_64: u64 = 16;
const GATE_32: u64 = 8;
/// What instructions that we know can raise: #UD and #GP.
const FAULTS: [u64; 2] = [6, 13];

/// An instruction at which the harness stops machines.
#[derive(Debug, PartialEq, Eq)]
enum Known {
    Vmrun,
    /// Its length.
    Other(u64),
    No,
}

fn known(code: &[u8]) -> Known {
    match code {
        [0x0F, 0x01, 0xD8, ..] => Known::Vmrun,
        [0x0F, 0x01, 0xD9..=0xDF, ..] => Known::Other(3),
        [0x0F, 0xA2 | 0x30 | 0x32, ..] => Known::Other(2), // CPUID, WRMSR, RDMSR
        _ => Known::No,
    }
}

/// The handler's address in a gate of the interrupt descriptor table; `None` when it is not present.
fn handler(gate: &[u8]) -> Option<u64> {
    let half = |at: usize| {
        gate.get(at..at + 2)
            .map(|bytes| u64::from(u16::from_le_bytes([bytes[0], bytes[1]])))
    };
    let present = gate.get(5)? & 0x80 != 0;
    let high = match gate.len() as u64 {
        GATE_64 => u64::from(u32::from_le_bytes(gate[8..12].try_into().ok()?)),
        _ => 0,
    };
    present.then_some(half(0)? | half(6)? << 16 | high << 32)
}

impl Machine {
    /// Goes on until something stops it.
    pub fn resume(&mut self, past: &mut Option<u64>, watch: Watch) -> io::Result<Stop> {
        let rip = self.linear_rip()?;
        if past.take() == Some(rip) {
            let stop = self.step_over(rip, 3, watch)?;
            let goes_on = match stop {
                Stop::Point(at) => !self.wanted(at),
                _ => false,
            };
            if !goes_on {
                return Ok(stop);
            }
        }
        self.run(Mode::Free, None, watch)
    }

    /// One instruction. A VMRUN is put off: `past` then says where.
    pub fn step(&mut self, past: &mut Option<u64>, watch: Watch) -> io::Result<Stop> {
        let rip = self.linear_rip()?;
        let code = self.physical(rip).map_or(Vec::new(), |address| self.read(address, 3));
        match known(&code) {
            Known::Vmrun if *past != Some(rip) => {
                *past = Some(rip);
                Ok(Stop::Stepped)
            }
            Known::Vmrun => {
                *past = None;
                self.step_over(rip, 3, watch).map(stepped)
            }
            Known::Other(length) => self.step_over(rip, length, watch).map(stepped),
            Known::No => {
                let here = self.physical(rip).filter(|address| self.points.at(*address));
                self.lifted(here, |machine| machine.run(Mode::SingleStep, Some(rip), watch))
            }
        }
    }

    /// Executes the instruction at `rip` and stops at the next one, or at the handler of a fault.
    fn step_over(&mut self, rip: u64, length: u64, watch: Watch) -> io::Result<Stop> {
        let here = self.physical(rip).filter(|address| self.points.at(*address));
        for (linear, physical) in self.landings(rip + length)? {
            // Rather not in memory: an emulator translates a page of code anew when it was written to.
            if !self.debug_registers.set(linear, Owner::Step) {
                self.points.set(&mut self.memory, physical, Owner::Step);
            }
        }
        let stop = self.lifted(here, |machine| machine.run(Mode::Free, Some(rip), watch));
        self.debug_registers.clear_step();
        self.points.clear_step(&mut self.memory);
        stop
    }

    fn lifted(&mut self, point: Option<u64>, run: impl FnOnce(&mut Self) -> io::Result<Stop>) -> io::Result<Stop> {
        let Some(address) = point else { return run(self) };
        self.points.lift(&mut self.memory, address, true);
        let stop = run(self);
        self.points.lift(&mut self.memory, address, false);
        stop
    }

    /// Where an instruction can lead, behind it or to a handler: linear and physical addresses.
    fn landings(&self, next: u64) -> io::Result<BTreeMap<u64, u64>> {
        let sregs = self.registers()?.sregs;
        let mut pages = Pages::default();
        let mut found = BTreeMap::new();
        found.extend(pages.physical(self, next).map(|physical| (next, physical)));
        let size = match (sregs.efer & LONG_MODE_ACTIVE, sregs.cr0 & PROTECTED) {
            (0, 0) => return Ok(found), // real mode: no fault of these is expected
            (0, _) => GATE_32,
            _ => GATE_64,
        };
        let within = |vector: &&u64| **vector * size + size - 1 <= sregs.idt.limit.into();
        for vector in FAULTS.iter().filter(within) {
            let gate = pages.physical(self, sregs.idt.base + vector * size);
            if let Some(linear) = gate.and_then(|gate| handler(&self.read(gate, size as usize))) {
                found.extend(pages.physical(self, linear).map(|physical| (linear, physical)));
            }
        }
        Ok(found)
    }

    /// Whether the debugger set a breakpoint at this linear address.
    fn wanted(&self, linear: u64) -> bool {
        self.debug_registers.of_debugger(linear)
            || self
                .physical(linear)
                .is_some_and(|address| self.points.of_debugger(address))
    }
}

/// Translations that were just made: asking KVM takes long.
#[derive(Default)]
struct Pages(BTreeMap<u64, Option<u64>>);

impl Pages {
    const OFFSET: u64 = 0xFFF;

    fn physical(&mut self, machine: &Machine, linear: u64) -> Option<u64> {
        let page = linear & !Self::OFFSET;
        let found = self.0.entry(page).or_insert_with(|| machine.physical(page));
        found.map(|physical| physical | linear & Self::OFFSET)
    }
}

/// A step ends where its breakpoints are.
fn stepped(stop: Stop) -> Stop {
    match stop {
        Stop::Point(_) => Stop::Stepped,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_known_by_their_bytes() {
        assert_eq!(known(&[0x0F, 0x01, 0xD8]), Known::Vmrun);
        assert_eq!(known(&[0x0F, 0x01, 0xDF]), Known::Other(3));
        assert_eq!(known(&[0x0F, 0x32, 0x90]), Known::Other(2));
        assert_eq!(known(&[0x0F, 0x01, 0xD0]), Known::No);
        assert_eq!(known(&[0x0F]), Known::No);
    }

    #[test]
    fn gates_lead_to_their_handlers() {
        let long = [0x34, 0x12, 8, 0, 0, 0x8E, 0x78, 0x56, 0xBC, 0x9A, 0, 0, 0, 0, 0, 0];
        assert_eq!(handler(&long), Some(0x9ABC_5678_1234));
        assert_eq!(handler(&long[..8]), Some(0x5678_1234));
        assert_eq!(handler(&[0; 16]), None);
        assert_eq!(handler(&[]), None);
    }
}
