//! The guest: its registers, memory and translation, and what handlers do with them.

use core::ops::{Deref, DerefMut};

use runtime::fixup::Fault;
use runtime::timer;
use svm::addr::{GuestPhys, HostPhys};
use svm::checks::{Entered, Host};
use svm::exit::ExitCode;
use svm::insn::{self, CodeSize, Decoded};
use svm::intercepts::ExceptionIntercepts;
use svm::pending::{Event, Pending};
use svm::regs::{Cr0, Efer};
use svm::system_registers::SystemRegisters;
use svm::vmcb::{EventInjection, EventKind, TlbControl};

use crate::clean::Clean;
use crate::defect;
use crate::exits::io::Serial;
use crate::exits::{DEBUG, Next, cpuid};
use crate::guests::Image;
use crate::memory::GuestMemory;
use crate::moves::Place;
use crate::paging::{self, Paging};
use crate::setup;
use crate::vcpu::{Vcpu, flush_control};
use crate::{second, world};

/// Longest instruction (APM vol. 3, 1.1).
const LONGEST_INSTRUCTION: usize = 15;

/// One guest with its one virtual processor.
pub struct Guest {
    /// Its processor.
    pub vcpu: Vcpu,
    /// Its memory.
    pub memory: GuestMemory,
    /// How its addresses become the host's.
    pub paging: Paging,
    /// What it wrote to its serial port.
    pub serial: Serial,
    /// The processor that it believes in, from what CPUID shows to it.
    pub processor: Host,
    /// Interrupts that it has yet to take.
    pub pending: Pending,
    /// When it is to be interrupted, in ticks of the clock, and by what.
    pub alarm: Option<(u64, Event)>,
    /// Whether it wants to run.
    pub state: State,
    place: Place,
    host_vmcb: HostPhys,
    clean: Clean,
}

/// Whether a guest wants to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It does.
    Runs,
    /// When the others have had their turn.
    Yields,
    /// It executed HLT: when it is interrupted.
    Halts,
}

impl Deref for Guest {
    type Target = Vcpu;

    fn deref(&self) -> &Vcpu {
        &self.vcpu
    }
}

impl DerefMut for Guest {
    fn deref_mut(&mut self) -> &mut Vcpu {
        &mut self.vcpu
    }
}

impl Guest {
    /// Loads the guest's image, its count and its number. The VMCB is built.
    pub fn new(
        vcpu: Vcpu,
        memory: GuestMemory,
        paging: Paging,
        pending: Pending,
        place: Place,
        host_vmcb: HostPhys,
    ) -> Self {
        Self {
            vcpu,
            memory,
            paging,
            serial: Serial::default(),
            // Asked once: each CPUID costs an exit where we are a guest ourselves. CR0 is for nested hypervisors.
            processor: Host::from_cpuid(cpuid::answer, Cr0::empty()),
            pending,
            alarm: None,
            state: State::Runs,
            place,
            host_vmcb,
            clean: Clean::default(),
        }
    }

    /// Loads what it executes, how often it shall loop, and which guest it is.
    pub fn load(&mut self, image: &Image, count: u64, number: u64) {
        let entry = GuestPhys(setup::ENTRY.into());
        self.memory.write(entry, image.bytes).expect("the built-in guests fit");
        for (place, value) in [(setup::COUNT, count), (setup::NUMBER, number)] {
            self.memory
                .write(place, &value.to_le_bytes())
                .expect("both are in the first page");
        }
    }

    /// Runs the guest until its next #VMEXIT. `Err` is a fault that VMRUN itself raised. When VMRUN refuses the guest,
    /// the VMCB is left as it was refused, with VMEXIT_INVALID as its exit code.
    pub fn enter(&mut self) -> Result<(), Fault> {
        if let Paging::Shadow(shadow) = &mut self.paging {
            shadow.before_entry();
            if defect::PAGE_FAULTS_PASSED.is_on() {
                let wrote_port = self.vcpu.vmcb.control.exit_code == ExitCode::IOIO;
                let intercepts = &mut self.vcpu.vmcb.control.intercept_exceptions;
                intercepts.set(ExceptionIntercepts::PF, !wrote_port);
            }
        }
        if defect::INTERRUPT_FORCED.is_on() {
            self.pending.window_opened();
        }
        self.pending.before_entry(self.vcpu.vmcb);
        self.misuse_events();
        if defect::CS_DPL.is_on() {
            self.vmcb.save.cs.attributes = self.vmcb.save.cs.attributes.with_dpl(3);
        }
        if self.vmcb.control.event_injection.is_valid() && defect::EVENT_RESERVED.is_on() {
            self.vmcb.control.event_injection.0 |= 1 << 12;
        }
        self.move_on();
        self.clean.promise(self.vcpu.vmcb, self.vcpu.features);
        let entered = Entered::of(self.vmcb);
        let vmcb = self.vmcb_address();
        let registers = &mut self.vcpu.registers;
        // SAFETY: SVM was enabled before the first guest was made; the pages are this guest's, and what it reaches is its
        // own memory (or, while a defect is seeded, what the defect gives it). It moves only to a processor that is there.
        let result = unsafe {
            match self.place.is_second() {
                true => second::enter(registers, vmcb),
                false => world::enter(registers, vmcb, self.host_vmcb, timer::runs()),
            }
        };
        self.place.after_exit();
        if self.vmcb.control.exit_code.is_invalid() {
            entered.restore(self.vmcb);
            self.clean.forget();
        } else {
            // The processor keeps both as they were written: once is enough (15.16.1, 15.20).
            self.vmcb.control.tlb_control = TlbControl::NONE;
            self.vmcb.control.event_injection = EventInjection::NONE;
            self.clean.keep(self.vcpu.vmcb, self.vcpu.features);
            self.pending.after_exit(self.vcpu.vmcb);
        }
        result
    }

    /// Goes on on another processor, or with the VMCB in another page, if it is time.
    fn move_on(&mut self) {
        let moved = self.place.before_entry(&mut self.vcpu.vmcb, timer::runs());
        if moved.processor && !defect::MOVED_PROCESSOR_CLEAN.is_on() || moved.vmcb && !defect::MOVED_VMCB_CLEAN.is_on()
        {
            self.clean.forget();
        }
        if moved.processor {
            self.flush();
        }
    }

    /// Seeded defects in what stands in the VMCB about interrupts.
    fn misuse_events(&mut self) {
        let control = &mut self.vcpu.vmcb.control;
        if defect::TPR_WHOLE.is_on() {
            let class = control.interrupt.tpr() & 0xF;
            control.interrupt = control.interrupt.with_tpr(class << 4 | class);
        }
        if control.event_injection == EventInjection::nmi() && defect::NMI_NESTED.is_on() {
            self.pending.nmi_ends(self.vcpu.vmcb);
        }
    }

    /// Takes a page of its memory away; true if it had one there. It gets another when it touches the place.
    pub fn give_back(&mut self, page: GuestPhys) -> bool {
        if self.memory.give_back(page).is_none() {
            return false;
        }
        match &mut self.paging {
            Paging::Nested(nested) => nested.unmap(page),
            // Where it is mapped by which linear addresses nobody knows.
            Paging::Shadow(shadow) => shadow.registers_changed(self.vcpu.vmcb),
        }
        self.flush();
        self.misuse_flush(page);
        true
    }

    /// Seeded defects: what is no flush of a guest's translations, in place of one.
    fn misuse_flush(&mut self, page: GuestPhys) {
        if defect::GIVEN_UNFLUSHED.is_on() || defect::GIVEN_HOST_FLUSHED.is_on() || defect::GIVEN_INVLPGA.is_on() {
            self.vmcb.control.tlb_control = TlbControl::NONE;
        }
        if defect::GIVEN_HOST_FLUSHED.is_on() {
            x86_64::instructions::tlb::flush_all();
        }
        if defect::GIVEN_INVLPGA.is_on() {
            let asid = self.vmcb.control.guest_asid.0;
            // SAFETY: SVM is enabled; to know less of a guest's translations harms nobody.
            unsafe { core::arch::asm!("invlpga rax, ecx", in("rax") page.0, in("ecx") asid, options(nostack)) };
        }
    }

    /// Drops what the TLB knows of it.
    pub fn flush(&mut self) {
        self.vmcb.control.tlb_control = flush_control(self.features);
    }

    /// Delivers again what an exit cut short. An interrupt that gives way to what a handler injects waits for its turn.
    pub fn resume_delivery(&mut self) {
        let interrupted = self.vmcb.control.exit_int_info;
        if !interrupted.is_valid() || defect::EVENT_LOST.is_on() {
            return;
        }
        if interrupted.kind() == EventKind::SoftwareInterrupt {
            const INT_N: u64 = 2;
            if defect::SOFTWARE_INTERRUPT_INJECTED.is_on() {
                self.vmcb.control.event_injection = interrupted;
            }
            if defect::SOFTWARE_INTERRUPT_LOST.is_on() {
                self.vmcb.save.rip += INT_N;
            }
        }
        if self.vmcb.control.event_injection.is_valid() {
            if interrupted.kind() == EventKind::Interrupt {
                self.pending.ask(Event::Interrupt(interrupted.vector()));
            }
            return;
        }
        let at_icebp = !defect::ICEBP_INJECTED.is_on() && self.goes_back_to_icebp(interrupted);
        self.vcpu.deliver_again(at_icebp);
    }

    /// Whether an event is the #DB of ICEBP: DR6 has no cause for another. RIP is then at ICEBP, or, where the processor
    /// takes it for a trap (QEMU's does), is put back there.
    fn goes_back_to_icebp(&mut self, event: EventInjection) -> bool {
        const ICEBP: u8 = 0xF1;
        const CAUSES: u64 = 0xE00F; // BT, BS, BD, B3 to B0 (APM vol. 2, 13.1.1.3)
        if event.kind() != EventKind::Exception || event.vector() != DEBUG || self.vmcb.save.dr6 & CAUSES != 0 {
            return false;
        }
        let saved = self.vmcb.save.rip;
        [saved, saved.wrapping_sub(1)].into_iter().any(|rip| {
            let mut byte = [0];
            self.vmcb.save.rip = rip;
            let found = self.fetch(&mut byte) == 1 && byte == [ICEBP];
            if !found {
                self.vmcb.save.rip = saved;
            }
            found
        })
    }

    /// How many bytes MOV moves to or from a control register: the mode decides, no prefix.
    pub fn mov_cr_size(&self) -> u8 {
        if self.code_size() == CodeSize::Bits64 { 8 } else { 4 }
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
                let save = &mut self.vcpu.vmcb.save;
                save.cr0 = registers.cr0;
                save.cr3 = registers.cr3;
                save.cr4 = registers.cr4;
                save.efer = registers.efer | Efer::SVME;
                if !defect::FLUSH_MISSED.is_on() {
                    self.flush();
                }
            }
            Paging::Shadow(shadow) => {
                shadow.guest = registers;
                shadow.registers_changed(self.vcpu.vmcb);
            }
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
        let next = self.told_next_rip().or(self.assumed_next_rip()).or_else(|| {
            let decoded = self.instruction()?;
            Some(self.vmcb.save.rip.wrapping_add(decoded.length.into()))
        });
        match next {
            Some(rip) => self.retire_to(rip),
            None => Next::Unhandled,
        }
    }
}
