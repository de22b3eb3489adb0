//! A virtual processor of the guest, and the machine that it is in.

use core::ops::{Deref, DerefMut};

use pc::code::{LONGEST, Remembered};
use pc::mmio;
use pc::policy::cpuid::Answers;
use svm::addr::{GuestPhys, PAGE_SIZE};
use svm::features::SvmFeatures;
use svm::insn::{self, CodeSize, Decoded};
use svm::regs::{Cr4, Efer};
use svm::system_registers::SystemRegisters;
use svm::vmcb::{CleanBits, Vmcb};
use svm::walk::{self, Access};

use super::machine::Machine;
use super::processors;
use crate::clean::unknown_clean_bits;
use crate::defect;
use crate::exits::Next;
use crate::vcpu::Vcpu;
use crate::world::Registers;

/// Places in the guest's code whose instructions are remembered: those that exit by themselves,
const LENGTHS: usize = 32;
/// and those that store to the APIC.
const ACCESSES: usize = 8;

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
    /// The clean bits of a VMCB in which nothing has changed since its last #VMEXIT.
    pub clean: CleanBits,
    /// What CPUID told it.
    pub answers: Answers,
    lengths: Remembered<u8, LENGTHS, 1>,
    accesses: Remembered<mmio::Access, ACCESSES, 2>,
    /// A seeded defect's: where the last instruction stood that was looked at, and its length.
    stale: (u64, u8),
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
    pub fn first(vmcb: &'static mut Vmcb, machine: &'m Machine) -> Self {
        let registers = Registers {
            rsi: vmcb.save.rsp,
            ..Registers::default()
        };
        Self::new(vmcb, registers, machine, processors::current())
    }

    /// A further one after its start-up interrupt: RDX tells what it is (APM vol. 2, 14.1.3).
    pub fn started(vmcb: &'static mut Vmcb, machine: &'m Machine, id: u32, signature: u32) -> Self {
        let registers = Registers {
            rdx: signature.into(),
            ..Registers::default()
        };
        Self::new(vmcb, registers, machine, id)
    }

    fn new(vmcb: &'static mut Vmcb, registers: Registers, machine: &'m Machine, id: u32) -> Self {
        let features = machine.features;
        let clean = if features.contains(SvmFeatures::VMCB_CLEAN) {
            CleanBits::all() | unknown_clean_bits()
        } else {
            CleanBits::empty()
        };
        Self {
            vcpu: Vcpu {
                vmcb,
                registers,
                features,
            },
            clean,
            machine,
            id,
            halted: false,
            answers: Answers::default(),
            lengths: Remembered::default(),
            accesses: Remembered::default(),
            stale: (0, 0),
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
    fn locate(&self, linear: u64) -> Option<GuestPhys> {
        let SystemRegisters { cr0, cr3, cr4, efer } = self.system_registers();
        let paging = walk::Paging::new(cr0, cr3, cr4, efer, self.machine.processor.physical_bits);
        let read = |entry| self.machine.read_entry(entry);
        let found = walk::walk(&paging, linear, Access::SUPERVISOR_READ, read);
        found.ok().map(|translation| translation.physical)
    }

    /// The bytes at CS:RIP, as many as are mapped; and how many.
    fn fetch(&self) -> ([u8; LONGEST], usize) {
        let mut bytes = [0; LONGEST];
        let start = self.code_start();
        let in_page = ((PAGE_SIZE - start % PAGE_SIZE) as usize).min(LONGEST);
        let (here, next) = bytes.split_at_mut(in_page);
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

    /// Whether the code that exited is of the kind that is remembered.
    #[inline]
    fn is_usual_code(&self) -> bool {
        let save = &self.vmcb.save;
        self.code_size() == CodeSize::Bits64 && !save.cr4.contains(Cr4::LA57)
    }

    /// The instruction at CS:RIP, which touched a page of devices; `None` if it cannot be read or is none that is known.
    #[inline]
    pub fn mmio_access(&mut self) -> Option<mmio::Access> {
        let (cr3, rip) = (self.vmcb.save.cr3, self.vmcb.save.rip);
        let known = self
            .is_usual_code()
            .then(|| self.accesses.recall(cr3, rip, self.machine))
            .flatten();
        known.or_else(|| self.learn_access(cr3, rip))
    }

    #[cold]
    fn learn_access(&mut self, cr3: u64, rip: u64) -> Option<mmio::Access> {
        let code = self.code_size();
        let decode = |bytes: &[u8]| mmio::decode(bytes, code);
        if defect::DECODE_UNCHECKED.is_on()
            && let Some(access) = decode(self.vmcb.control.instruction())
        {
            return Some(access);
        }
        let learnt = self
            .is_usual_code()
            .then(|| self.accesses.learn(cr3, rip, self.machine, decode))
            .flatten();
        // Bytes that come with the exit (15.8.4) need no walk and may be anywhere.
        let told = || {
            self.features
                .contains(SvmFeatures::DECODE_ASSISTS)
                .then(|| self.vmcb.control.instruction())
        };
        learnt.or_else(|| decode(told()?)).or_else(|| {
            let (bytes, length) = self.fetch();
            decode(&bytes[..length])
        })
    }

    /// Decodes the instruction at CS:RIP; `None` if it cannot be read or is none that anybody asks for.
    pub fn instruction(&self) -> Option<Decoded> {
        let (bytes, length) = self.fetch();
        insn::decode(&bytes[..length], self.code_size())
    }

    /// Moves RIP past the instruction that exited.
    #[inline(always)]
    pub fn retire(&mut self) -> Next {
        if let Some(next) = self.told_next_rip() {
            return self.retire_to(next);
        }
        if let Some(next) = self.assumed_next_rip() {
            return self.retire_to(next);
        }
        let (cr3, rip) = (self.vmcb.save.cr3, self.vmcb.save.rip);
        if self.stale.0 == rip && defect::STALE_CODE.is_on() {
            let next = rip.wrapping_add(self.stale.1.into());
            return self.retire_to_64(next);
        }
        if self.is_usual_code() {
            if let Some(length) = self.lengths.recall(cr3, rip, self.machine) {
                return self.retire_to_64(rip.wrapping_add(length.into()));
            }
        }
        self.retire_unknown()
    }

    #[cold]
    fn retire_unknown(&mut self) -> Next {
        let (cr3, rip) = (self.vmcb.save.cr3, self.vmcb.save.rip);
        let decode = |bytes: &[u8]| Some(insn::decode(bytes, CodeSize::Bits64)?.length);
        let learnt = self
            .is_usual_code()
            .then(|| self.lengths.learn(cr3, rip, self.machine, decode))
            .flatten();
        match learnt.or_else(|| Some(self.instruction()?.length)) {
            Some(length) => {
                if defect::STALE_CODE.is_on() {
                    self.stale = (rip, length);
                }
                self.retire_to(rip.wrapping_add(length.into()))
            }
            None => Next::Unhandled,
        }
    }
}
