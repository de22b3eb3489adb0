//! The MSR permission map (15.11): which RDMSR and WRMSR exit when the MSR intercept is on.

/// The map, 8 KiB on a page boundary (SVM-15.11-002, -007): two bits an MSR, the lower one for RDMSR, the upper one for
/// WRMSR, 1 to intercept (SVM-15.11-003).
#[repr(C, align(4096))]
#[derive(Clone)]
pub struct Msrpm([u8; 0x2000]);

/// One direction of access to an MSR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MsrAccess {
    /// RDMSR; EXITINFO1 = 0 (SVM-15.11-006).
    Read,
    /// WRMSR; EXITINFO1 = 1 (SVM-15.11-006).
    Write,
}

/// An MSR that the map does not cover; its accesses always exit (SVM-15.11-004).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uncovered(pub u32);

/// The bit of an access, counted from the map's start: byte times 8 plus bit in the byte (SVM-15.11-002, -003).
/// `None` if the map does not cover the MSR.
#[must_use]
pub const fn bit(msr: u32, access: MsrAccess) -> Option<usize> {
    let vector = match msr >> 13 {
        0x0_0000 => 0x0000, // MSRs 0 to 1FFFh
        0x6_0000 => 0x0800, // C000_0000h to C000_1FFFh
        0x6_0008 => 0x1000, // C001_0000h to C001_1FFFh
        _ => return None,
    };
    Some(vector * 8 + (msr & 0x1fff) as usize * 2 + matches!(access, MsrAccess::Write) as usize)
}

impl Msrpm {
    /// A map that intercepts nothing it covers.
    #[must_use]
    pub const fn pass_all() -> Self {
        Self([0; 0x2000])
    }

    /// A map that intercepts everything.
    #[must_use]
    pub const fn intercept_all() -> Self {
        Self([0xff; 0x2000])
    }

    /// Sets whether an access exits.
    ///
    /// # Errors
    /// If the map does not cover the MSR: it exits whatever the map says.
    pub const fn set(&mut self, msr: u32, access: MsrAccess, intercept: bool) -> Result<(), Uncovered> {
        let Some(bit) = bit(msr, access) else {
            return Err(Uncovered(msr));
        };
        let mask = 1 << (bit % 8);
        if intercept {
            self.0[bit / 8] |= mask;
        } else {
            self.0[bit / 8] &= !mask;
        }
        Ok(())
    }

    /// True if an access exits; always so for an MSR that the map does not cover (SVM-15.11-004).
    #[must_use]
    pub const fn intercepts(&self, msr: u32, access: MsrAccess) -> bool {
        match bit(msr, access) {
            Some(bit) => self.0[bit / 8] & 1 << (bit % 8) != 0,
            None => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::msr;

    #[test]
    fn positions_are_those_of_the_manual() {
        use MsrAccess::{Read, Write};
        let positions = [
            (0, Read, Some(0)),
            (0, Write, Some(1)),
            (0x1fff, Write, Some(0x0800 * 8 - 1)),
            (0x2000, Read, None),
            (0xbfff_ffff, Read, None),
            (0xc000_0000, Read, Some(0x0800 * 8)),
            (msr::EFER, Read, Some(0x0800 * 8 + 0x100)),
            (0xc000_1fff, Write, Some(0x1000 * 8 - 1)),
            (0xc000_2000, Write, None),
            (0xc000_ffff, Write, None),
            (0xc001_0000, Read, Some(0x1000 * 8)),
            (0xc001_1fff, Write, Some(0x1800 * 8 - 1)),
            (0xc001_2000, Read, None),
            (u32::MAX, Read, None),
        ];
        for (msr, access, expected) in positions {
            assert_eq!(bit(msr, access), expected, "{msr:#x} {access:?}");
        }
    }

    #[test]
    fn one_direction_does_not_touch_the_other() {
        let mut map = Box::new(Msrpm::pass_all());
        map.set(msr::VM_CR, MsrAccess::Write, true).expect("covered");
        assert!(map.intercepts(msr::VM_CR, MsrAccess::Write));
        assert!(!map.intercepts(msr::VM_CR, MsrAccess::Read));
        assert!(!map.intercepts(msr::VM_CR - 1, MsrAccess::Write) && !map.intercepts(msr::VM_CR + 1, MsrAccess::Read));
        map.set(msr::VM_CR, MsrAccess::Write, false).expect("covered");
        assert!(map.0.iter().all(|&byte| byte == 0));
    }

    #[test]
    fn what_is_not_covered_exits_always() {
        let mut map = Box::new(Msrpm::pass_all());
        assert_eq!(
            map.set(0x4000_0000, MsrAccess::Read, false),
            Err(Uncovered(0x4000_0000))
        );
        assert!(map.intercepts(0x4000_0000, MsrAccess::Read) && !map.intercepts(0x10, MsrAccess::Read));
        assert!(Msrpm::intercept_all().intercepts(0x10, MsrAccess::Read));
        assert_eq!(size_of::<Msrpm>(), 0x2000);
    }
}
