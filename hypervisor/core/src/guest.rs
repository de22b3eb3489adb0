//! The guest: its registers, memory and translation, and what handlers do with them.

use runtime::fixup::Fault;
use svm::addr::{GuestPhys, HostPhys};
use svm::checks::{Entered, Host};
use svm::escalation::{Escalation, escalate};
use svm::features::SvmFeatures;
use svm::insn::{self, CodeSize, Decoded};
use svm::regs::{Cr0, Efer, Rflags};
use svm::system_registers::SystemRegisters;
use svm::vmcb::{Attributes, EventInjection, EventKind, IntState, TlbControl, Vmcb};

use crate::exits::io::Serial;
use crate::exits::{DEBUG, Next, cpuid};
use crate::memory::{GuestMemory, Pages, host_address};
use crate::options::Options;
use crate::paging::{self, Paging};
use crate::setup;
use crate::world::{self, Registers};

/// Longest instruction (APM vol. 3, 1.1).
const LONGEST_INSTRUCTION: usize = 15;

/// One guest with its one virtual processor.
pub struct Guest {
    /// Its VMCB.
    pub vmcb: &'static mut Vmcb,
    /// The registers that the VMCB has no place for.
    pub registers: Registers,
    /// Its memory.
    pub memory: GuestMemory,
    /// How its addresses become the host's.
    pub paging: Paging,
    /// What it wrote to its serial port.
    pub serial: Serial,
    /// The processor that it believes in, from what CPUID shows to it.
    pub processor: Host,
    host_vmcb: HostPhys,
    features: SvmFeatures,
}

impl Guest {
    /// Loads the guest's image and its count. The VMCB is built.
    pub fn new(
        pages: Pages,
        mut memory: GuestMemory,
        paging: Paging,
        features: SvmFeatures,
        options: &Options,
    ) -> Self {
        const COUNT: GuestPhys = GuestPhys(0x600);
        let entry = GuestPhys(setup::ENTRY.into());
        memory
            .write(entry, options.guest.bytes)
            .expect("the built-in guests fit");
        memory
            .write(COUNT, &options.count.to_le_bytes())
            .expect("the count is in the first page");
        Self {
            vmcb: pages.vmcb,
            registers: Registers::default(),
            memory,
            paging,
            serial: Serial::default(),
            // Asked once: each CPUID costs an exit where we are a guest ourselves. CR0 is for nested hypervisors.
            processor: Host::from_cpuid(cpuid::answer, Cr0::empty()),
            host_vmcb: pages.host_vmcb,
            features,
        }
    }

    /// Runs the guest until its next #VMEXIT. `Err` is a fault that VMRUN itself raised. When VMRUN refuses the guest,
    /// the VMCB is left as it was refused, with VMEXIT_INVALID as its exit code.
    pub fn enter(&mut self) -> Result<(), Fault> {
        if let Paging::Shadow(shadow) = &mut self.paging {
            shadow.before_entry();
        }
        let entered = Entered::of(self.vmcb);
        let vmcb = self.vmcb_address();
        // SAFETY: SVM was enabled before the first guest was made; the pages are this guest's, and what it reaches is its
        // own memory (or, while a defect is seeded, what the defect gives it).
        let result = unsafe { world::enter(&mut self.registers, vmcb, self.host_vmcb) };
        if self.vmcb.control.exit_code.is_invalid() {
            entered.restore(self.vmcb);
        } else {
            // The processor keeps both as they were written: once is enough (15.16.1, 15.20).
            self.vmcb.control.tlb_control = TlbControl::NONE;
            self.vmcb.control.event_injection = EventInjection::NONE;
        }
        result
    }

    /// Delivers again what an exit cut short, unless a handler injects something itself (15.7.2).
    pub fn resume_delivery(&mut self) {
        let control = &mut self.vmcb.control;
        let interrupted = control.exit_int_info;
        let repeats_by_itself = match interrupted.kind() {
            // RIP is still at the instruction, so it is executed again.
            EventKind::SoftwareInterrupt => true,
            EventKind::Exception => matches!(interrupted.vector(), 3 | 4),
            _ => false,
        };
        if interrupted.is_valid() && !repeats_by_itself && !control.event_injection.is_valid() {
            control.event_injection = interrupted;
        }
    }

    /// RAX, which the VMCB holds.
    pub fn rax(&self) -> u64 {
        self.vmcb.save.rax
    }

    /// Sets RAX.
    pub fn set_rax(&mut self, value: u64) {
        self.vmcb.save.rax = value;
    }

    /// The current privilege level: the VMCB's, not that of a selector (15.5.1).
    pub fn cpl(&self) -> u8 {
        self.vmcb.save.cpl
    }

    /// A general register by its number in instructions.
    fn register(&mut self, number: u8) -> &mut u64 {
        match number & 15 {
            0 => &mut self.vmcb.save.rax,
            1 => &mut self.registers.rcx,
            2 => &mut self.registers.rdx,
            3 => &mut self.registers.rbx,
            4 => &mut self.vmcb.save.rsp,
            5 => &mut self.registers.rbp,
            6 => &mut self.registers.rsi,
            7 => &mut self.registers.rdi,
            high => &mut self.registers.r8_to_r15[usize::from(high) - 8],
        }
    }

    /// The low `size` bytes of a general register.
    pub fn read_register(&mut self, number: u8, size: u8) -> u64 {
        *self.register(number) & low_bytes(size)
    }

    /// Writes the low `size` bytes of a general register; four clear the upper half, fewer leave the rest.
    pub fn write_register(&mut self, number: u8, value: u64, size: u8) {
        let register = self.register(number);
        let kept = if size >= 4 { 0 } else { *register & !low_bytes(size) };
        *register = kept | value & low_bytes(size);
    }

    /// How many bytes MOV moves to or from a control register: the mode decides, no prefix.
    pub fn mov_cr_size(&self) -> u8 {
        if self.code_size() == CodeSize::Bits64 { 8 } else { 4 }
    }

    /// The physical address of its VMCB.
    pub fn vmcb_address(&mut self) -> HostPhys {
        host_address(self.vmcb)
    }

    /// CR0, CR3, CR4 and EFER as the guest sees them.
    pub fn system_registers(&self) -> SystemRegisters {
        match &self.paging {
            Paging::Nested(_) => {
                let save = &self.vmcb.save;
                SystemRegisters {
                    cr0: save.cr0,
                    cr3: save.cr3,
                    cr4: save.cr4,
                    efer: save.efer - Efer::SVME,
                }
            }
            Paging::Shadow(shadow) => shadow.guest,
        }
    }

    /// Sets them, and drops what the TLB knows.
    pub fn set_system_registers(&mut self, registers: SystemRegisters) {
        match &mut self.paging {
            Paging::Nested(_) => {
                let save = &mut self.vmcb.save;
                save.cr0 = registers.cr0;
                save.cr3 = registers.cr3;
                save.cr4 = registers.cr4;
                save.efer = registers.efer | Efer::SVME;
                self.vmcb.control.tlb_control = TlbControl::ALL;
            }
            Paging::Shadow(shadow) => {
                shadow.guest = registers;
                shadow.registers_changed(self.vmcb);
            }
        }
    }

    /// What the code segment makes of addresses and operands.
    pub fn code_size(&self) -> CodeSize {
        let attributes = self.vmcb.save.cs.attributes;
        let SystemRegisters { cr0, efer, .. } = self.system_registers();
        if efer.contains(Efer::LMA) && attributes.contains(Attributes::L) {
            CodeSize::Bits64
        } else if attributes.contains(Attributes::DB) && cr0.contains(Cr0::PE) {
            CodeSize::Bits32
        } else {
            CodeSize::Bits16
        }
    }

    /// Decodes the instruction at CS:RIP; `None` if it cannot be read or is none that anybody asks for.
    pub fn instruction(&self) -> Option<Decoded> {
        let mut bytes = [0; LONGEST_INSTRUCTION];
        let length = self.fetch(&mut bytes);
        insn::decode(&bytes[..length], self.code_size())
    }

    /// Reads the bytes at CS:RIP, as many as are mapped.
    fn fetch(&self, bytes: &mut [u8]) -> usize {
        let save = &self.vmcb.save;
        let start = match self.code_size() {
            CodeSize::Bits64 => save.rip,
            _ => save.cs.base.wrapping_add(save.rip) & 0xFFFF_FFFF,
        };
        let mut done = 0;
        while done < bytes.len() {
            let linear = start.wrapping_add(done as u64);
            let in_page = (0x1000 - (linear & 0xFFF) as usize).min(bytes.len() - done);
            let Some(address) = paging::translate(self, linear) else {
                break;
            };
            if self.memory.read(address, &mut bytes[done..done + in_page]).is_none() {
                break;
            }
            done += in_page;
        }
        done
    }

    /// Moves RIP past the instruction that exited.
    pub fn retire(&mut self) -> Next {
        let control = &self.vmcb.control;
        let next = if self.features.contains(SvmFeatures::NRIPS) && control.next_rip != 0 {
            Some(control.next_rip)
        } else {
            self.instruction()
                .map(|decoded| self.vmcb.save.rip.wrapping_add(decoded.length.into()))
        };
        match next {
            Some(rip) => self.retire_to(rip),
            None => Next::Unhandled,
        }
    }

    /// The same when the next RIP is known; does what the end of an instruction does (APM vol. 2, 3.1.6, 15.21.5).
    pub fn retire_to(&mut self, rip: u64) -> Next {
        const SINGLE_STEP: u64 = 1 << 14; // DR6.BS
        let mask = match self.code_size() {
            CodeSize::Bits64 => u64::MAX,
            CodeSize::Bits32 => 0xFFFF_FFFF,
            CodeSize::Bits16 => 0xFFFF,
        };
        let save = &mut self.vmcb.save;
        save.rip = rip & mask;
        save.rflags -= Rflags::RF;
        self.vmcb.control.int_state -= IntState::INTERRUPT_SHADOW;
        if save.rflags.contains(Rflags::TF) {
            save.dr6 |= SINGLE_STEP;
            return self.raise(DEBUG, None);
        }
        Next::Resume
    }

    /// Injects an exception, or what becomes of it when it came while another was being delivered.
    pub fn raise(&mut self, vector: u8, error: Option<u32>) -> Next {
        const DOUBLE_FAULT: u8 = 8;
        let control = &mut self.vmcb.control;
        control.event_injection = match escalate(control.exit_int_info, vector) {
            Escalation::None => EventInjection::exception(vector, error),
            Escalation::DoubleFault => EventInjection::exception(DOUBLE_FAULT, Some(0)),
            Escalation::Shutdown => return Next::SHUTDOWN,
        };
        Next::Resume
    }
}

/// A mask of the low `size` bytes, 1 to 8.
const fn low_bytes(size: u8) -> u64 {
    u64::MAX >> (64 - 8 * size as u32)
}
