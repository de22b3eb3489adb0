//! A virtual processor of the guest, and the machine that it is in.

use core::ops::{Deref, DerefMut};

use pc::mmio::{self, Decoder, LONGEST};
use svm::addr::{GuestPhys, PAGE_SIZE};
use svm::features::SvmFeatures;
use svm::insn::{self, CodeSize, Decoded};
use svm::regs::{Cr4, Efer};
use svm::system_registers::SystemRegisters;
use svm::vmcb::Vmcb;
use svm::walk::{self, Access};

use super::machine::Machine;
use super::processors;
use crate::exits::Next;
use crate::vcpu::Vcpu;
use crate::world::Registers;

/// One processor of the guest.
pub struct Cpu<'m> {
    /// Its registers.
    pub vcpu: Vcpu,
    /// The machine.
    pub machine: &'m Machine,
    /// Its physical APIC id.
    pub id: u32,
    /// It executes HLT without an exit at the moment.
    pub halted: bool,
    decoder: Decoder,
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
    /// The first: its kernel is entered with the parameters' address in RSI, which is where its stack ends.
    pub fn first(vmcb: &'static mut Vmcb, features: SvmFeatures, machine: &'m Machine) -> Self {
        let registers = Registers {
            rsi: vmcb.save.rsp,
            ..Registers::default()
        };
        Self::new(vmcb, registers, features, machine, processors::current())
    }

    /// A further one after its start-up interrupt: RDX tells what it is (APM vol. 2, 14.1.3).
    pub fn started(vmcb: &'static mut Vmcb, machine: &'m Machine, id: u32, signature: u32) -> Self {
        let registers = Registers {
            rdx: signature.into(),
            ..Registers::default()
        };
        Self::new(vmcb, registers, processors::features(), machine, id)
    }

    fn new(
        vmcb: &'static mut Vmcb,
        registers: Registers,
        features: SvmFeatures,
        machine: &'m Machine,
        id: u32,
    ) -> Self {
        Self {
            vcpu: Vcpu {
                vmcb,
                registers,
                features,
            },
            machine,
            id,
            halted: false,
            decoder: Decoder::default(),
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

    /// The linear address of CS:RIP.
    fn code_start(&self) -> u64 {
        let save = &self.vmcb.save;
        match self.code_size() {
            CodeSize::Bits64 => save.rip,
            _ => save.cs.base.wrapping_add(save.rip) & 0xFFFF_FFFF,
        }
    }

    /// Where a linear address of the code that just exited leads; `None` if nowhere.
    #[inline]
    fn locate(&self, linear: u64) -> Option<GuestPhys> {
        let read = |entry| self.machine.read_entry(entry);
        let SystemRegisters { cr0, cr3, cr4, efer } = self.system_registers();
        if efer.contains(Efer::LMA) && !cr4.contains(Cr4::LA57) {
            return walk::locate_code(cr3, linear, read);
        }
        let paging = walk::Paging::new(cr0, cr3, cr4, efer, self.machine.processor.physical_bits);
        let found = walk::walk(&paging, linear, Access::SUPERVISOR_READ, read);
        found.ok().map(|translation| translation.physical)
    }

    /// The bytes at CS:RIP, as many as are mapped, then zeroes; and how many.
    fn fetch(&self) -> ([u8; LONGEST + 1], usize) {
        let mut bytes = [0; LONGEST + 1];
        let start = self.code_start();
        let in_page = ((PAGE_SIZE - start % PAGE_SIZE) as usize).min(LONGEST);
        let (here, next) = bytes[..LONGEST].split_at_mut(in_page);
        let mut done = 0;
        for part in [here, next].into_iter().filter(|part| !part.is_empty()) {
            let at = self.locate(start.wrapping_add(done as u64));
            let length = part.len();
            if at.and_then(|at| self.machine.read(at, part)).is_none() {
                break;
            }
            done += length;
        }
        (bytes, done)
    }

    /// The instruction at CS:RIP, which touched a page of devices; `None` if it cannot be read or is none that is known.
    pub fn mmio_access(&mut self) -> Option<mmio::Access> {
        let (bytes, length) = self.fetch();
        let code = self.code_size();
        self.decoder.decode(bytes, length, code)
    }

    /// Decodes the instruction at CS:RIP; `None` if it cannot be read or is none that anybody asks for.
    pub fn instruction(&self) -> Option<Decoded> {
        let (bytes, length) = self.fetch();
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
    /// The same for an instruction that is `plain`, unless somebody put prefixes before it.
    #[inline]
    pub fn retire_plain<const N: usize>(&mut self, plain: [u8; N]) -> Next {
        let start = self.code_start();
        let mut bytes = [0; N];
        let in_page = start % PAGE_SIZE <= PAGE_SIZE - N as u64;
        if in_page
            && self
                .locate(start)
                .and_then(|at| self.machine.read(at, &mut bytes))
                .is_some()
            && bytes == plain
        {
            let next = self.vmcb.save.rip.wrapping_add(N as u64);
            return self.retire_to(next);
        }
        self.retire()
    }
}
