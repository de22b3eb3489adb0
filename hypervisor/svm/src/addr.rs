//! Addresses and address-space identifiers that the type checker keeps apart.

use core::fmt;

/// Bytes in a page, and in a VMCB (15.5.1).
pub const PAGE_SIZE: u64 = 4096;

/// True if `value` is a multiple of 4096.
#[must_use]
pub const fn is_page_aligned(value: u64) -> bool {
    value % PAGE_SIZE == 0
}

/// `value` rounded down to a multiple of 4096.
#[must_use]
pub const fn page_floor(value: u64) -> u64 {
    value & !(PAGE_SIZE - 1)
}

/// `value` rounded up to a multiple of 4096, or `None` if that does not fit 64 bits.
#[must_use]
pub const fn page_ceil(value: u64) -> Option<u64> {
    value.checked_next_multiple_of(PAGE_SIZE)
}

/// True if bits 63:`bits` of `value` are all 0: it is an address that `bits` physical address bits can express.
#[must_use]
pub const fn fits(value: u64, bits: u8) -> bool {
    bits >= 64 || value >> bits == 0
}

macro_rules! address {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[repr(transparent)]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl $name {
            /// True if bits 11:0 are 0.
            #[must_use]
            pub const fn is_page_aligned(self) -> bool {
                is_page_aligned(self.0)
            }

            /// The address of the page that contains this one.
            #[must_use]
            pub const fn page(self) -> Self {
                Self(page_floor(self.0))
            }

            /// Bits 11:0.
            #[must_use]
            pub const fn page_offset(self) -> u64 {
                self.0 % PAGE_SIZE
            }

            /// The address `bytes` further on, or `None` past the end of 64 bits.
            #[must_use]
            pub const fn checked_add(self, bytes: u64) -> Option<Self> {
                match self.0.checked_add(bytes) {
                    Some(sum) => Some(Self(sum)),
                    None => None,
                }
            }
        }

        impl fmt::LowerHex for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::LowerHex::fmt(&self.0, f)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }
    };
}

address! {
    /// A system-physical address: what the host's page tables, the VMCB pointers and VM_HSAVE_PA hold.
    HostPhys
}

address! {
    /// A guest-physical address: what a guest's page tables hold, and the input of the nested tables (15.25.1).
    GuestPhys
}

/// An address-space identifier, 32 bits (VMCB 058h, 15.16). 0 is the host's and illegal for a guest
/// (SVM-15.5.1-C-022); the number of identifiers is CPUID Fn8000_000A_EBX (SVM-15.5.1-037).
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Asid(pub u32);

impl Asid {
    /// The host's own identifier.
    pub const HOST: Self = Self(0);

    /// True if a guest may use this identifier on a processor that has `count` of them, the host's included.
    #[must_use]
    pub const fn is_guest(self, count: u32) -> bool {
        self.0 != 0 && self.0 < count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alignment_has_two_sides() {
        assert!(is_page_aligned(0) && is_page_aligned(0x1000));
        assert!(!is_page_aligned(0xfff) && !is_page_aligned(0x1001));
        assert_eq!(
            (page_floor(0xfff), page_floor(0x1000), page_floor(0x1fff)),
            (0, 0x1000, 0x1000)
        );
        assert_eq!(
            (page_ceil(0), page_ceil(1), page_ceil(0x1000)),
            (Some(0), Some(0x1000), Some(0x1000))
        );
        assert_eq!(page_ceil(u64::MAX - 0xfff), Some(u64::MAX - 0xfff));
        assert_eq!(page_ceil(u64::MAX - 0xffe), None);
    }

    #[test]
    fn an_address_fits_below_the_width_only() {
        assert!(fits((1 << 40) - 1, 40));
        assert!(!fits(1 << 40, 40));
        assert!(fits(u64::MAX, 64));
        assert!(!fits(1, 0));
    }

    #[test]
    fn an_address_knows_its_page() {
        let address = HostPhys(0x1234_5678);
        assert_eq!(address.page(), HostPhys(0x1234_5000));
        assert_eq!(address.page_offset(), 0x678);
        assert!(!address.is_page_aligned());
        assert_eq!(GuestPhys(u64::MAX).checked_add(1), None);
        assert_eq!(GuestPhys(1).checked_add(1), Some(GuestPhys(2)));
        assert_eq!(std::format!("{address} {address:x}"), "0x12345678 12345678");
    }

    #[test]
    fn a_guest_may_use_asids_between_the_host_and_the_count() {
        assert!(!Asid::HOST.is_guest(16));
        assert!(Asid(1).is_guest(2) && Asid(15).is_guest(16));
        assert!(!Asid(16).is_guest(16) && !Asid(1).is_guest(1));
    }
}
