//! A virtual processor: its VMCB and the registers that the VMCB has no place for.

use svm::addr::HostPhys;
use svm::escalation::{Escalation, escalate};
use svm::exit::ExitCode;
use svm::features::SvmFeatures;
use svm::insn::CodeSize;
use svm::redelivery;
use svm::regs::{Cr0, Efer, Rflags};
use svm::vmcb::{Attributes, CleanBits, EventInjection, IntState, TlbControl, Vmcb};

use crate::defect;
use crate::exits::{DEBUG, DOUBLE_FAULT, Next};
use crate::memory::host_address;
use crate::world::Registers;

/// One virtual processor.
pub struct Vcpu {
    /// Its VMCB.
    pub vmcb: &'static mut Vmcb,
    /// The registers that the VMCB has no place for.
    pub registers: Registers,
    /// What SVM offers on the processor that it runs on.
    pub features: SvmFeatures,
}

impl Vcpu {
    /// The physical address of its VMCB.
    pub fn vmcb_address(&mut self) -> HostPhys {
        host_address(self.vmcb)
    }

    /// Delivers again what an exit cut short, unless a handler injects something itself (15.7.2).
    #[inline]
    pub fn resume_delivery(&mut self) {
        if self.vmcb.control.exit_int_info.is_valid() {
            self.deliver_again(false);
        }
    }

    /// The same, when something was cut short. `at_icebp` tells that #DB is ICEBP's, and RIP at it.
    #[cold]
    pub fn deliver_again(&mut self, at_icebp: bool) {
        let control = &mut self.vmcb.control;
        if !control.event_injection.is_valid() {
            control.event_injection = redelivery::again(control.exit_int_info, at_icebp);
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
        if defect::CPL_FROM_DPL.is_on() {
            return self.vmcb.save.cs.attributes.dpl();
        }
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

    /// What the code segment makes of addresses and operands. Shadow paging leaves CR0.PE and EFER.LMA as the guest has
    /// them, so the VMCB tells in every case.
    #[inline]
    pub fn code_size(&self) -> CodeSize {
        let attributes = self.vmcb.save.cs.attributes;
        let (cr0, efer) = (self.vmcb.save.cr0, self.vmcb.save.efer);
        if efer.intersects(Efer::LMA) && attributes.contains(Attributes::L) {
            CodeSize::Bits64
        } else if attributes.contains(Attributes::DB) && cr0.contains(Cr0::PE) {
            CodeSize::Bits32
        } else {
            CodeSize::Bits16
        }
    }

    /// The next RIP, without a look at the instruction: a seeded defect.
    pub fn assumed_next_rip(&self) -> Option<u64> {
        let length = if self.vmcb.control.exit_code == ExitCode::VMMCALL {
            3
        } else {
            2
        };
        defect::LENGTH_ASSUMED
            .is_on()
            .then(|| self.vmcb.save.rip.wrapping_add(length))
    }

    /// The next RIP, if the processor told it (15.7.1).
    #[inline]
    pub fn told_next_rip(&self) -> Option<u64> {
        let control = &self.vmcb.control;
        (self.features.contains(SvmFeatures::NRIPS) && control.next_rip != 0).then_some(control.next_rip)
    }

    /// Moves RIP past the instruction that exited, to `rip`; does what the end of an instruction does (APM vol. 2, 3.1.6, 15.21.5).
    #[inline]
    pub fn retire_to(&mut self, rip: u64) -> Next {
        let mask = match self.code_size() {
            CodeSize::Bits64 => u64::MAX,
            CodeSize::Bits32 => 0xFFFF_FFFF,
            CodeSize::Bits16 => 0xFFFF,
        };
        self.retire_to_64(rip & mask)
    }

    /// The same in 64-bit code.
    #[inline]
    pub fn retire_to_64(&mut self, rip: u64) -> Next {
        let vmcb = &mut *self.vmcb;
        vmcb.save.rip = rip;
        if !defect::SHADOW_KEPT.is_on() {
            vmcb.control.int_state -= IntState::INTERRUPT_SHADOW;
        }
        if vmcb.save.rflags.contains(Rflags::TF) {
            return self.single_step();
        }
        vmcb.save.rflags -= Rflags::RF;
        Next::Resume
    }

    /// The trap that RFLAGS.TF asks for.
    #[cold]
    #[inline(never)]
    fn single_step(&mut self) -> Next {
        const SINGLE_STEP: u64 = 1 << 14; // DR6.BS
        self.vmcb.save.rflags -= Rflags::RF;
        self.vmcb.save.dr6 |= SINGLE_STEP;
        self.vmcb.control.clean -= CleanBits::DEBUG_REGISTERS;
        self.raise(DEBUG, None)
    }

    /// Injects an exception, or what becomes of it when it came while another was being delivered.
    #[cold]
    #[inline(never)]
    pub fn raise(&mut self, vector: u8, error: Option<u32>) -> Next {
        let control = &mut self.vmcb.control;
        let before = match defect::FAULTS_NOT_COMBINED.is_on() {
            true => EventInjection::NONE,
            false => control.exit_int_info,
        };
        control.event_injection = match escalate(before, vector) {
            Escalation::None => EventInjection::exception(vector, error),
            Escalation::DoubleFault => EventInjection::exception(DOUBLE_FAULT, Some(0)),
            Escalation::Shutdown => return Next::SHUTDOWN,
        };
        Next::Resume
    }
}

/// What TLB_CONTROL must be for VMRUN to drop a guest's translations.
pub fn flush_control(features: SvmFeatures) -> TlbControl {
    const RESERVED: TlbControl = TlbControl(2);
    match TlbControl::guest(features) {
        _ if defect::FLUSH_RESERVED.is_on() => RESERVED,
        _ if defect::FLUSH_ALL.is_on() => TlbControl::ALL,
        flush => flush,
    }
}

/// A mask of the low `size` bytes, 1 to 8.
const fn low_bytes(size: u8) -> u64 {
    u64::MAX >> (64 - 8 * size as u32)
}
