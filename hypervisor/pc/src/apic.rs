//! Interrupt commands of the local APIC (APM vol. 2, 16.5): which of them stop and start processors.

/// The low half of the interrupt command register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command(pub u32);

/// Bits 19:18: whom it is for without naming him.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shorthand {
    /// Whom the other half names.
    None,
    /// The sender.
    Itself,
    /// All.
    All,
    /// All but the sender.
    Others,
}

impl Command {
    const VECTOR: u32 = 0xFF;
    const MODE: u32 = 7 << 8;
    const NMI: u32 = 4 << 8;
    const INIT: u32 = 5 << 8;
    const STARTUP: u32 = 6 << 8;
    const LOGICAL: u32 = 1 << 11;
    const SHORTHAND_SHIFT: u32 = 18;

    /// The interrupt's vector, or the page where a processor starts.
    #[must_use]
    pub const fn vector(self) -> u8 {
        (self.0 & Self::VECTOR) as u8
    }

    /// The same command with another vector.
    #[must_use]
    pub const fn with_vector(self, vector: u8) -> Self {
        Self(self.0 & !Self::VECTOR | vector as u32)
    }

    /// INIT, which stops a processor, and its level's deassertion, which does nothing.
    #[must_use]
    pub const fn is_init(self) -> bool {
        self.0 & Self::MODE == Self::INIT
    }

    /// The start-up interrupt.
    #[must_use]
    pub const fn is_startup(self) -> bool {
        self.0 & Self::MODE == Self::STARTUP
    }

    /// A non-maskable interrupt.
    #[must_use]
    pub const fn is_nmi(self) -> bool {
        self.0 & Self::MODE == Self::NMI
    }

    /// Whether the other half names logical ids.
    #[must_use]
    pub const fn is_logical(self) -> bool {
        self.0 & Self::LOGICAL != 0
    }

    /// Whom it is for.
    #[must_use]
    pub const fn shorthand(self) -> Shorthand {
        match self.0 >> Self::SHORTHAND_SHIFT & 3 {
            0 => Shorthand::None,
            1 => Shorthand::Itself,
            2 => Shorthand::All,
            _ => Shorthand::Others,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_that_linux_sends() {
        let init = Command(0xC500);
        assert!(init.is_init() && !init.is_startup() && !init.is_logical());
        let startup = Command(0x0699);
        assert!(startup.is_startup() && !startup.is_init());
        assert_eq!((startup.vector(), startup.with_vector(0x8F)), (0x99, Command(0x068F)));
        let backtrace = Command(0x0000_0C00);
        assert!(backtrace.is_nmi() && !backtrace.is_init() && !backtrace.is_startup());
        let reschedule = Command(0x0008_08FD);
        assert!(!reschedule.is_init() && !reschedule.is_startup() && reschedule.is_logical());
    }

    #[test]
    fn shorthands() {
        let all = [Shorthand::None, Shorthand::Itself, Shorthand::All, Shorthand::Others];
        for (bits, shorthand) in (0..).zip(all) {
            assert_eq!(Command(bits << 18 | 0x500).shorthand(), shorthand);
        }
    }
}
