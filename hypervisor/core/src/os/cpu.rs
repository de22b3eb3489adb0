//! A virtual processor of the guest, and the machine that it is in.

use core::ops::{Deref, DerefMut};

use svm::addr::GuestPhys;
use svm::features::SvmFeatures;
use svm::insn::{self, CodeSize, Decoded};
use svm::regs::Efer;
use svm::system_registers::SystemRegisters;
use svm::vmcb::Vmcb;
use svm::walk::{self, Access};

use super::machine::Machine;
use crate::exits::Next;
use crate::vcpu::Vcpu;
use crate::world::Registers;

/// Longest instruction (APM vol. 3, 1.1).
pub const LONGEST_INSTRUCTION: usize = 15;

/// One processor of the guest.
pub struct Cpu<'m> {
    /// Its registers.
    pub vcpu: Vcpu,
    /// The machine.
    pub machine: &'m Machine,
}

impl Deref for Cpu<'_> {
    type Target = Vcpu;

    fn deref(&self) -> &Vcpu {
        &self.vcpu
    }
}

impl DerefMut for Cpu<'_> {
    fn deref_mut(&mut self) -> &mut Vcpu {
        &mut self.vcpu
    }
}

impl<'m> Cpu<'m> {
    /// The VMCB is built.
    pub fn new(vmcb: &'static mut Vmcb, features: SvmFeatures, machine: &'m Machine) -> Self {
        let registers = Registers {
            rsi: vmcb.save.rsp, // setup.rs left the parameters' address there
            ..Registers::default()
        };
        Self {
            vcpu: Vcpu {
                vmcb,
                registers,
                features,
            },
            machine,
        }
    }

    /// CR0, CR3, CR4 and EFER as the guest sees them.
    pub fn system_registers(&self) -> SystemRegisters {
        let save = &self.vmcb.save;
        SystemRegisters {
            cr0: save.cr0,
            cr3: save.cr3,
            cr4: save.cr4,
            efer: save.efer - Efer::SVME,
        }
    }

    /// Where a linear address leads, read with the supervisor's rights; `None` if nowhere.
    fn translate(&self, linear: u64) -> Option<GuestPhys> {
        let SystemRegisters { cr0, cr3, cr4, efer } = self.system_registers();
        let paging = walk::Paging::new(cr0, cr3, cr4, efer, self.machine.processor.physical_bits);
        let read = |entry| self.machine.read(entry).map(u64::from_le_bytes);
        let found = walk::walk(&paging, linear, Access::SUPERVISOR_READ, read);
        found.ok().map(|translation| translation.physical)
    }

    /// The bytes at CS:RIP, as many as are mapped.
    pub fn fetch(&self, bytes: &mut [u8; LONGEST_INSTRUCTION]) -> usize {
        let save = &self.vmcb.save;
        let start = match self.code_size() {
            CodeSize::Bits64 => save.rip,
            _ => save.cs.base.wrapping_add(save.rip) & 0xFFFF_FFFF,
        };
        let mut page = None;
        for (done, byte) in bytes.iter_mut().enumerate() {
            let linear = start.wrapping_add(done as u64);
            if page.is_none() || linear & 0xFFF == 0 {
                page = self.translate(linear & !0xFFF);
            }
            let Some([read]) = page.and_then(|page| self.machine.read(GuestPhys(page.0 | linear & 0xFFF))) else {
                return done;
            };
            *byte = read;
        }
        bytes.len()
    }

    /// Decodes the instruction at CS:RIP; `None` if it cannot be read or is none that anybody asks for.
    pub fn instruction(&self) -> Option<Decoded> {
        let mut bytes = [0; LONGEST_INSTRUCTION];
        let length = self.fetch(&mut bytes);
        insn::decode(&bytes[..length], self.code_size())
    }

    /// Moves RIP past the instruction that exited.
    pub fn retire(&mut self) -> Next {
        let next = self.told_next_rip().or_else(|| {
            let decoded = self.instruction()?;
            Some(self.vmcb.save.rip.wrapping_add(decoded.length.into()))
        });
        match next {
            Some(rip) => self.retire_to(rip),
            None => Next::Unhandled,
        }
    }
}
