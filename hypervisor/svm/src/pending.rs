//! Interrupts and NMIs that a guest has yet to take, and how they reach it (15.20, 15.21, 15.13.5).
//!
//! The guest's RFLAGS.IF, V_TPR and interrupt shadow hold interrupts back; NMIs are held back from one to the IRET that
//! ends its handler, which the processor does not do by itself for injected ones (SVM-15.20-016).

use crate::intercepts::{CrMask, Misc1};
use crate::regs::Rflags;
use crate::vmcb::{EventInjection, IntState, Vmcb};

/// How interrupts reach the guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// EVENTINJ, as soon as the guest can take it; VMEXIT_VINTR, and the exit at a write of CR8, say when that may be.
    #[default]
    Inject,
    /// V_IRQ: the processor delivers it by itself, if no other waits.
    Virtual,
}

/// What a guest may be interrupted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// An interrupt with this vector; the upper half of it is its priority.
    Interrupt(u8),
    /// A non-maskable interrupt.
    Nmi,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum NmiMask {
    #[default]
    Open,
    /// From an NMI to the next IRET, which is intercepted.
    Closed,
    /// The IRET at this RIP is under way.
    Opens(u64),
}

/// What waits for a guest.
#[derive(Clone, Debug, Default)]
pub struct Pending {
    method: Method,
    /// A bit for each vector.
    vectors: [u64; 4],
    nmi: bool,
    mask: NmiMask,
    /// The processor said that the guest can take an interrupt now.
    window: bool,
    /// The vector that V_IRQ offers.
    offered: Option<u8>,
}

impl Pending {
    /// Nothing yet.
    #[must_use]
    pub fn new(method: Method) -> Self {
        Self {
            method,
            ..Self::default()
        }
    }

    /// The guest is to be interrupted.
    pub fn ask(&mut self, event: Event) {
        match event {
            Event::Interrupt(vector) => self.vectors[usize::from(vector) / 64] |= 1 << (vector % 64),
            Event::Nmi => self.nmi = true,
        }
    }

    fn highest(&self) -> Option<u8> {
        let word = (0..4).rev().find(|&word| self.vectors[word] != 0)?;
        Some((64 * word) as u8 + 63 - self.vectors[word].leading_zeros() as u8)
    }

    fn drop_vector(&mut self, vector: u8) {
        self.vectors[usize::from(vector) / 64] &= !(1 << (vector % 64));
    }

    /// True if the guest would take that event at once.
    #[must_use]
    pub fn takes(&self, vmcb: &Vmcb, event: Event) -> bool {
        if vmcb.control.int_state.contains(IntState::INTERRUPT_SHADOW) {
            return false;
        }
        match event {
            Event::Interrupt(vector) => vmcb.save.rflags.contains(Rflags::IF) && above_tpr(vmcb, vector),
            Event::Nmi => self.mask == NmiMask::Open,
        }
    }

    /// True if something waits that the guest would take at once: it ends a HLT.
    #[must_use]
    pub fn wakes(&self, vmcb: &Vmcb) -> bool {
        let interrupt = self.highest().map(Event::Interrupt);
        let nmi = self.nmi.then_some(Event::Nmi);
        [interrupt, nmi]
            .into_iter()
            .flatten()
            .any(|event| self.takes(vmcb, event))
    }

    /// True if an NMI waits for something that no exit tells: the end of an IRET, of a shadow, of another event.
    #[must_use]
    pub fn needs_an_exit(&self) -> bool {
        self.nmi && self.mask != NmiMask::Closed
    }

    /// Puts into the VMCB what the next VMRUN shall deliver, and what shall tell when more can be. An event that is
    /// there already comes first.
    pub fn before_entry(&mut self, vmcb: &mut Vmcb) {
        if matches!(self.mask, NmiMask::Opens(iret) if iret != vmcb.save.rip) {
            self.mask = NmiMask::Open;
        }
        if self.nmi && !vmcb.control.event_injection.is_valid() && self.takes(vmcb, Event::Nmi) {
            vmcb.control.event_injection = EventInjection::nmi();
            self.nmi = false;
            self.mask = NmiMask::Closed;
        }
        vmcb.control
            .intercept_misc1
            .set(Misc1::IRET, self.mask == NmiMask::Closed);
        if self.by_hand() {
            self.inject(vmcb);
        }
        self.window = false;
        let waits = self.highest();
        // Behind the task priority there is nothing to wait for until CR8 is lowered. Its writes exit, because not every
        // processor looks at a pending interrupt again by itself.
        self.offered = waits.filter(|&vector| above_tpr(vmcb, vector));
        let window = self.offered.is_some() && self.by_hand();
        let control = &mut vmcb.control;
        control.intercept_misc1.set(Misc1::VINTR, window);
        control.intercept_cr_write.set(CrMask::CR8, waits.is_some());
        if let Some(vector) = self.offered {
            vmcb.control.interrupt = vmcb.control.interrupt.with_pending(vector >> 4, vector);
        }
    }

    /// V_IRQ is for one interrupt: that it was taken, so that the next one could be offered, no exit tells.
    fn by_hand(&self) -> bool {
        let several = self.vectors.iter().map(|word| word.count_ones()).sum::<u32>() > 1;
        self.method == Method::Inject || several
    }

    fn inject(&mut self, vmcb: &mut Vmcb) {
        let Some(vector) = self.highest() else {
            return;
        };
        // What the processor says counts for more than what we make of the VMCB.
        let now = self.window || self.takes(vmcb, Event::Interrupt(vector));
        if now && !vmcb.control.event_injection.is_valid() {
            vmcb.control.event_injection = EventInjection::interrupt(vector);
            self.drop_vector(vector);
        }
    }

    /// Takes out of the VMCB what was put into it: of the interrupt that V_IRQ offered, whether the guest took it.
    pub fn after_exit(&mut self, vmcb: &mut Vmcb) {
        let word = vmcb.control.interrupt;
        if let Some(vector) = self.offered.take()
            && !word.is_pending()
            && !vmcb.control.intercept_misc1.contains(Misc1::VINTR)
        {
            self.drop_vector(vector);
        }
        vmcb.control.interrupt = word.without_pending();
    }

    /// VMEXIT_VINTR: the guest can take an interrupt now.
    pub fn window_opened(&mut self) {
        self.window = true;
    }

    /// VMEXIT_IRET: the handler of an NMI ends with the instruction at RIP.
    pub fn nmi_ends(&mut self, vmcb: &Vmcb) {
        self.mask = NmiMask::Opens(vmcb.save.rip);
    }
}

/// Strictly greater (SVM-15.21.4-002).
fn above_tpr(vmcb: &Vmcb, vector: u8) -> bool {
    vector >> 4 > vmcb.control.interrupt.tpr() & 0xf
}

#[cfg(test)]
mod tests;
