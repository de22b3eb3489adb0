//! EVENTINJ and EXITINTINFO: an event to deliver, or one whose delivery was cut short (15.20, 15.7.2).

/// EVENTINJ (VMCB 0A8h) and EXITINTINFO (088h), 64 bits: 7:0 vector, 10:8 type, 11 error code valid, 31 valid, 63:32
/// error code (SVM-15.20-002). Legal combinations are judged in [`crate::checks`].
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventInjection(pub u64);

/// Bits 10:8 of an event (15.20).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// 0: an external or virtual interrupt (SVM-15.20-003).
    Interrupt,
    /// 2: a non-maskable interrupt; the vector is ignored (SVM-15.20-004).
    Nmi,
    /// 3: an exception (SVM-15.20-005).
    Exception,
    /// 4: INTn (SVM-15.20-006).
    SoftwareInterrupt,
    /// 1, 5, 6 or 7, which are illegal (SVM-15.20-007).
    Reserved(u8),
}

impl EventInjection {
    /// Nothing to inject.
    pub const NONE: Self = Self(0);
    const ERROR_VALID: u64 = 1 << 11;
    const VALID: u64 = 1 << 31;

    /// An external interrupt with this vector (SVM-15.20-003).
    #[must_use]
    pub const fn interrupt(vector: u8) -> Self {
        Self(Self::VALID | vector as u64)
    }

    /// A non-maskable interrupt (SVM-15.20-004).
    #[must_use]
    pub const fn nmi() -> Self {
        Self(Self::VALID | (2 << 8) | 2)
    }

    /// An exception, with the error code to push if it has one (SVM-15.20-005, -012). #PF does not set CR2
    /// (SVM-15.20-022).
    #[must_use]
    pub const fn exception(vector: u8, error_code: Option<u32>) -> Self {
        let event = Self::VALID | (3 << 8) | vector as u64;
        match error_code {
            Some(code) => Self(event | Self::ERROR_VALID | ((code as u64) << 32)),
            None => Self(event),
        }
    }

    /// INTn; the return address is VMCB 0C8h, so it needs NRIPS (SVM-15.20-006, -018).
    #[must_use]
    pub const fn software_interrupt(vector: u8) -> Self {
        Self(Self::VALID | (4 << 8) | vector as u64)
    }

    /// Bit 31: there is an event at all; otherwise all else is ignored (SVM-15.20-021).
    #[must_use]
    pub const fn is_valid(self) -> bool {
        self.0 & Self::VALID != 0
    }

    /// Bits 7:0.
    #[must_use]
    pub const fn vector(self) -> u8 {
        (self.0 & 0xff) as u8
    }

    /// Bits 10:8.
    #[must_use]
    pub const fn kind(self) -> EventKind {
        match (self.0 >> 8 & 7) as u8 {
            0 => EventKind::Interrupt,
            2 => EventKind::Nmi,
            3 => EventKind::Exception,
            4 => EventKind::SoftwareInterrupt,
            reserved => EventKind::Reserved(reserved),
        }
    }

    /// Bits 63:32, if bit 11 says that they count (SVM-15.20-012).
    #[must_use]
    pub const fn error_code(self) -> Option<u32> {
        if self.0 & Self::ERROR_VALID == 0 {
            None
        } else {
            Some((self.0 >> 32) as u32)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constructors_encode_what_the_manual_shows() {
        assert_eq!(EventInjection::interrupt(0x20).0, 0x8000_0020);
        assert_eq!(EventInjection::nmi().0, 0x8000_0202);
        assert_eq!(EventInjection::exception(6, None).0, 0x8000_0306);
        assert_eq!(EventInjection::exception(13, Some(0x10)).0, 0x0000_0010_8000_0b0d);
        assert_eq!(EventInjection::software_interrupt(0x80).0, 0x8000_0480);
    }

    #[test]
    fn fields_come_back() {
        let event = EventInjection::exception(14, Some(u32::MAX));
        assert!(event.is_valid());
        assert_eq!(
            (event.vector(), event.kind(), event.error_code()),
            (14, EventKind::Exception, Some(u32::MAX))
        );
        assert_eq!(EventInjection::interrupt(255).error_code(), None);
        assert!(!EventInjection::NONE.is_valid());
        assert!(!EventInjection(0x7fff_ffff).is_valid());
    }

    #[test]
    fn every_type_decodes() {
        let kinds: Vec<EventKind> = (0..8).map(|kind| EventInjection(kind << 8).kind()).collect();
        use EventKind::*;
        assert_eq!(
            kinds,
            [
                Interrupt,
                Reserved(1),
                Nmi,
                Exception,
                SoftwareInterrupt,
                Reserved(5),
                Reserved(6),
                Reserved(7)
            ]
        );
    }
}
