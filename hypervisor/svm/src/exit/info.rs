//! EXITINFO1 of the exits that need decoding.

use bitflags::bitflags;

/// EXITINFO1 of VMEXIT_IOIO, 64 bits (15.10.2): 31:16 port, 12:10 segment, 9:7 address size, 6:4 operand size, 3 REP,
/// 2 string, 0 direction.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoExitInfo(pub u64);

impl IoExitInfo {
    /// Bits 31:16 (SVM-15.10-008).
    #[must_use]
    pub const fn port(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// Bit 0: IN or INS rather than OUT or OUTS (SVM-15.10-009).
    #[must_use]
    pub const fn is_in(self) -> bool {
        self.0 & 1 != 0
    }

    /// Bit 2: INS or OUTS (SVM-15.10-010).
    #[must_use]
    pub const fn is_string(self) -> bool {
        self.0 & 1 << 2 != 0
    }

    /// Bit 3: a repeat prefix (SVM-15.10-011).
    #[must_use]
    pub const fn is_repeated(self) -> bool {
        self.0 & 1 << 3 != 0
    }

    /// Bits 6:4: bytes moved, 1, 2 or 4; `None` unless exactly one of the bits is set (SVM-15.10-012).
    #[must_use]
    pub const fn size(self) -> Option<u8> {
        match self.0 >> 4 & 7 {
            size @ (1 | 2 | 4) => Some(size as u8),
            _ => None,
        }
    }

    /// Bits 9:7: address size in bytes, 2, 4 or 8; `None` unless exactly one of the bits is set (SVM-15.10-013).
    #[must_use]
    pub const fn address_size(self) -> Option<u8> {
        match self.0 >> 7 & 7 {
            size @ (1 | 2 | 4) => Some(2 * size as u8),
            _ => None,
        }
    }

    /// Bits 12:10: the segment of a string instruction's operand, numbered as in instructions: 0 is ES
    /// (SVM-15.10-014).
    #[must_use]
    pub const fn segment(self) -> u8 {
        (self.0 >> 10 & 7) as u8
    }
}

bitflags! {
    /// EXITINFO1 of VMEXIT_NPF, 64 bits (15.25.6).
    #[repr(transparent)]
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct NpfErrorCode: u64 {
        /// Bit 0: the nested page is present (SVM-15.25.6-005).
        const PRESENT = 1 << 0;
        /// Bit 1: a write at the nested level (SVM-15.25.6-006).
        const WRITE = 1 << 1;
        /// Bit 2: a user access at the nested level, as all of them are (SVM-15.25.6-007).
        const USER = 1 << 2;
        /// Bit 3: a reserved bit is set in a nested entry (SVM-15.25.6-008).
        const RESERVED = 1 << 3;
        /// Bit 4: a code fetch (SVM-15.25.6-009).
        const FETCH = 1 << 4;
        /// Bit 6: a shadow-stack access (SVM-15.25.6-011).
        const SHADOW_STACK = 1 << 6;
        /// Bit 32: on the final guest-physical address (SVM-15.25.6-010).
        const FINAL = 1 << 32;
        /// Bit 33: on a guest page table (SVM-15.25.6-010).
        const TABLE = 1 << 33;
        /// Bit 37: a supervisor shadow-stack page (SVM-15.25.6-011).
        const SSS = 1 << 37;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn out_of_a_byte_to_e9() {
        let info = IoExitInfo(0x00e9_0210);
        assert_eq!(
            (info.port(), info.size(), info.address_size()),
            (0xe9, Some(1), Some(8))
        );
        assert!(!info.is_in() && !info.is_string() && !info.is_repeated());
    }

    #[test]
    fn rep_ins_of_doublewords() {
        let info = IoExitInfo(0xffff_0ccd);
        assert_eq!(
            (info.port(), info.size(), info.address_size(), info.segment()),
            (0xffff, Some(4), Some(2), 3)
        );
        assert!(info.is_in() && info.is_string() && info.is_repeated());
        let sixteen = IoExitInfo(0x60 | 0x80);
        assert_eq!((sixteen.size(), sixteen.address_size()), (None, Some(2)));
        assert_eq!((IoExitInfo(0).size(), IoExitInfo(0x20).size()), (None, Some(2)));
        assert_eq!(
            (IoExitInfo(0x100).address_size(), IoExitInfo(0x180).address_size()),
            (Some(4), None)
        );
    }

    #[test]
    fn nested_faults_decode() {
        let read_only_table = NpfErrorCode::from_bits_retain(0x2_0000_0007);
        use NpfErrorCode as E;
        assert_eq!(read_only_table, E::TABLE | E::PRESENT | E::WRITE | E::USER);
        assert_eq!(
            E::from_bits_retain(0x1_0000_0015),
            E::FINAL | E::FETCH | E::USER | E::PRESENT
        );
        assert_eq!(E::all().bits(), 0x23_0000_005f);
    }
}
