//! Virtual interrupts (15.21): the words at 060h and 068h.

use bitflags::bitflags;

/// Virtual interrupt control, 64 bits (VMCB 060h, 15.21): 7:0 V_TPR, flags, 19:16 V_INTR_PRIO, 39:32 V_INTR_VECTOR.
/// VMRUN loads it (SVM-15.5.1-026).
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InterruptControl(pub u64);

bitflags! {
    /// The single bits of [`InterruptControl`].
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct VintrFlags: u64 {
        /// Bit 8: a virtual interrupt is pending (15.21.4).
        const V_IRQ = 1 << 8;
        /// Bit 9: the virtual global interrupt flag (15.33.2).
        const V_GIF = 1 << 9;
        /// Bit 11: a virtual NMI is pending (15.21.10).
        const V_NMI = 1 << 11;
        /// Bit 12: virtual NMIs are masked (15.21.10).
        const V_NMI_MASK = 1 << 12;
        /// Bit 20: the virtual interrupt ignores V_TPR (15.21.4).
        const V_IGN_TPR = 1 << 20;
        /// Bit 24: the host's IF gates physical interrupts (SVM-15.21.1-002).
        const V_INTR_MASKING = 1 << 24;
        /// Bit 25: virtual GIF (15.33.2).
        const V_GIF_ENABLE = 1 << 25;
        /// Bit 26: virtual NMI; needs the NMI intercept (SVM-15.21.10-001).
        const V_NMI_ENABLE = 1 << 26;
        /// Bit 30: x2AVIC; illegal without AVIC (SVM-15.29-004).
        const X2AVIC_ENABLE = 1 << 30;
        /// Bit 31: AVIC (15.29).
        const AVIC_ENABLE = 1 << 31;
    }
}

impl InterruptControl {
    const TPR: u64 = 0xff;
    const PRIORITY: u64 = 0xf << 16;
    const VECTOR: u64 = 0xff << 32;

    /// The single bits, without the numbers between them.
    #[must_use]
    pub const fn flags(self) -> VintrFlags {
        VintrFlags::from_bits_truncate(self.0)
    }

    /// The same word with exactly these flags.
    #[must_use]
    pub const fn with_flags(self, flags: VintrFlags) -> Self {
        Self(self.0 & !VintrFlags::all().bits() | flags.bits())
    }

    /// Bits 7:0: the virtual task priority (only 3:0 are used).
    #[must_use]
    pub const fn tpr(self) -> u8 {
        (self.0 & Self::TPR) as u8
    }

    /// The same word with another virtual task priority.
    #[must_use]
    pub const fn with_tpr(self, tpr: u8) -> Self {
        Self(self.0 & !Self::TPR | tpr as u64)
    }

    /// Bits 19:16: the pending interrupt's priority.
    #[must_use]
    pub const fn priority(self) -> u8 {
        (self.0 >> 16 & 0xf) as u8
    }

    /// Bits 39:32: the pending interrupt's vector.
    #[must_use]
    pub const fn vector(self) -> u8 {
        (self.0 >> 32 & 0xff) as u8
    }

    /// The same word with a virtual interrupt pending: V_IRQ, its priority (4 bits) and vector (15.21.4).
    #[must_use]
    pub const fn with_pending(self, priority: u8, vector: u8) -> Self {
        let kept = self.0 & !(Self::PRIORITY | Self::VECTOR);
        Self(kept | VintrFlags::V_IRQ.bits() | (((priority & 0xf) as u64) << 16) | ((vector as u64) << 32))
    }

    /// Bit 8: a virtual interrupt is pending; #VMEXIT writes whether it still is (15.21.4).
    #[must_use]
    pub const fn is_pending(self) -> bool {
        self.flags().contains(VintrFlags::V_IRQ)
    }

    /// The same word with no virtual interrupt pending, nor its priority and vector.
    #[must_use]
    pub const fn without_pending(self) -> Self {
        Self(self.0 & !(Self::PRIORITY | Self::VECTOR | VintrFlags::V_IRQ.bits()))
    }
}

bitflags! {
    /// Interrupt state, 64 bits (VMCB 068h, 15.21.5).
    #[repr(transparent)]
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct IntState: u64 {
        /// Bit 0: interrupts are held back until one instruction has completed (SVM-15.5.1-027).
        const INTERRUPT_SHADOW = 1 << 0;
        /// Bit 1: the guest's IF, SEV-ES guests only (SVM-B-004).
        const GUEST_INTERRUPT_MASK = 1 << 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pending_interrupt_keeps_the_rest() {
        let word = InterruptControl(0)
            .with_tpr(0x0f)
            .with_flags(VintrFlags::V_INTR_MASKING)
            .with_pending(0x1f, 0xfe);
        assert_eq!(word.0, 0x0000_00fe_010f_010f);
        assert_eq!((word.tpr(), word.priority(), word.vector()), (15, 15, 0xfe));
        assert_eq!(word.flags(), VintrFlags::V_IRQ | VintrFlags::V_INTR_MASKING);
        assert!(word.is_pending() && !word.without_pending().is_pending());
        assert_eq!(word.without_pending().0, 0x0100_000f);
    }

    #[test]
    fn flags_do_not_reach_into_the_numbers() {
        let word = InterruptControl(u64::MAX).with_flags(VintrFlags::empty());
        assert_eq!((word.tpr(), word.priority(), word.vector()), (0xff, 0xf, 0xff));
        assert!(word.flags().is_empty());
        assert_eq!(InterruptControl(u64::MAX).with_tpr(0).tpr(), 0);
    }
}
