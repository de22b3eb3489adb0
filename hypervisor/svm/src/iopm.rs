//! The I/O permission map (15.10): which IN and OUT exit when the I/O intercept is on.

/// The map, 12 KiB on a page boundary (SVM-15.10-003): one bit a port, 1 to intercept, and three bits more for accesses
/// that run past port FFFFh (SVM-15.10-002, -005).
#[repr(C, align(4096))]
#[derive(Clone)]
pub struct Iopm([u8; 0x3000]);

impl Iopm {
    /// A map that intercepts no port.
    #[must_use]
    pub const fn pass_all() -> Self {
        Self([0; 0x3000])
    }

    /// A map that intercepts every port.
    #[must_use]
    pub const fn intercept_all() -> Self {
        Self([0xff; 0x3000])
    }

    /// Lets every port through.
    pub fn open(&mut self) {
        self.0.fill(0);
    }

    /// Sets whether accesses to a byte-wide port exit.
    pub const fn set(&mut self, port: u16, intercept: bool) {
        let mask = 1 << (port % 8);
        if intercept {
            self.0[port as usize / 8] |= mask;
        } else {
            self.0[port as usize / 8] &= !mask;
        }
    }

    /// True if an access of `size` bytes (1, 2 or 4) exits: if the bit of any byte is set, those past port FFFFh included
    /// (SVM-15.10-004, -005).
    #[must_use]
    pub fn intercepts(&self, port: u16, size: u8) -> bool {
        let first = usize::from(port);
        (first..first + usize::from(size)).any(|bit| self.0[bit / 8] & 1 << (bit % 8) != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_byte_of_an_access_counts() {
        let mut map = Box::new(Iopm::pass_all());
        map.set(0x3f8, true);
        assert!(map.intercepts(0x3f8, 1) && map.intercepts(0x3f7, 2) && map.intercepts(0x3f5, 4));
        assert!(!map.intercepts(0x3f7, 1) && !map.intercepts(0x3f4, 4) && !map.intercepts(0x3f9, 4));
        map.set(0x3f8, false);
        assert!(map.0.iter().all(|&byte| byte == 0));
    }

    #[test]
    fn an_access_may_run_past_the_last_port() {
        let mut map = Box::new(Iopm::pass_all());
        assert!(!map.intercepts(0xffff, 4));
        map.set(0xffff, true);
        assert!(map.intercepts(0xffff, 1) && map.intercepts(0xfffc, 4) && !map.intercepts(0xfffb, 4));
        map.set(0xffff, false);
        map.0[0x2000] = 0b100;
        assert!(map.intercepts(0xffff, 4) && !map.intercepts(0xfffe, 4) && !map.intercepts(0xffff, 2));
        assert!(Iopm::intercept_all().intercepts(0, 1));
        assert_eq!((size_of::<Iopm>(), align_of::<Iopm>()), (0x3000, 0x1000));
    }
}
