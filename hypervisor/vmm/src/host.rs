//! What this Linux has to offer: its KVM, and what of it works.

use std::io;

use kvm_ioctls::Kvm;

use crate::cpu::{self, named};
use crate::machine::{Machine, Mode, Stop};
use crate::points::Owner;
use crate::wire::{Job, Region};

pub struct Host {
    pub kvm: Kvm,
    /// Whether the processor honours a guest's debug registers.
    pub debug_registers: bool,
}

impl Host {
    /// Fails where KVM offers no SVM to its guests.
    pub fn open() -> io::Result<Self> {
        let kvm = Kvm::new().map_err(named("/dev/kvm"))?;
        cpu::check(&kvm)?;
        let mut host = Self {
            kvm,
            debug_registers: true,
        };
        host.debug_registers = host.try_debug_registers()?;
        Ok(host)
    }

    /// Lets a small machine run into one.
    fn try_debug_registers(&self) -> io::Result<bool> {
        const CODE: [u8; 4] = [0x90, 0x90, 0xE6, 0xF4]; // two NOPs, then a write to the exit port
        const START: u64 = 0x1000;
        let code = Region {
            address: START,
            bytes: CODE.to_vec(),
        };
        let job = Job {
            memory: 1 << 20,
            milliseconds: 1000,
            rip: START,
            regions: vec![code],
            ..Job::default()
        };
        let mut machine = Machine::new(self, &job)?;
        machine.debug_registers.set(START + 1, Owner::Step);
        Ok(machine.run(Mode::Free, None, &mut |_| Ok(false))? == Stop::Point(START + 1))
    }
}
