//! Segment registers as the VMCB stores them: selector and unpacked hidden part (15.5.1, SVM-15.5.1-038, -039).

use bitflags::bitflags;
use core::mem::{offset_of, size_of};

/// A segment register, 16 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// +0, 16 bits.
    pub selector: u16,
    /// +2, 16 bits, of which 12 are used (SVM-15.5.1-038).
    pub attributes: Attributes,
    /// +4, 32 bits: in bytes, with G already applied (SVM-15.5.1-039).
    pub limit: u32,
    /// +8, 64 bits; ES, CS, SS and DS implement 32 of them (SVM-B-007).
    pub base: u64,
}

// Appendix B, table B-2.
const _: () = assert!(size_of::<Segment>() == 16);
const _: () = assert!(offset_of!(Segment, attributes) == 2);
const _: () = assert!(offset_of!(Segment, limit) == 4);
const _: () = assert!(offset_of!(Segment, base) == 8);

impl Segment {
    /// A null segment: all-zero attributes, so P is 0 (SVM-15.5.1-040).
    pub const NULL: Self = Self {
        selector: 0,
        attributes: Attributes::empty(),
        limit: 0,
        base: 0,
    };

    /// What real mode loads: base 16 times the selector, limit FFFFh, read/write data.
    #[must_use]
    pub const fn real_mode_data(selector: u16) -> Self {
        Self {
            selector,
            attributes: Attributes::DATA,
            limit: 0xffff,
            base: (selector as u64) << 4,
        }
    }

    /// The same as code, for CS.
    #[must_use]
    pub const fn real_mode_code(selector: u16) -> Self {
        Self {
            selector,
            attributes: Attributes::CODE,
            limit: 0xffff,
            base: (selector as u64) << 4,
        }
    }
}

/// GDTR or IDTR, 16 bytes; selector and attributes are reserved (SVM-B-006).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DescriptorTable {
    reserved: u32,
    /// +4, 32 bits, of which 16 are implemented (SVM-15.5.1-023).
    pub limit: u32,
    /// +8, 64 bits.
    pub base: u64,
}

const _: () = assert!(size_of::<DescriptorTable>() == 16);
const _: () = assert!(offset_of!(DescriptorTable, limit) == 4); // appendix B, table B-2
const _: () = assert!(offset_of!(DescriptorTable, base) == 8); // appendix B, table B-2

impl DescriptorTable {
    /// A table of `limit` + 1 bytes at `base`.
    #[must_use]
    pub const fn new(base: u64, limit: u16) -> Self {
        Self {
            reserved: 0,
            limit: limit as u32,
            base,
        }
    }
}

bitflags! {
    /// Segment attributes, 16 bits: descriptor bits 47:40 in 7:0 and 55:52 in 11:8 (SVM-15.5.1-038).
    #[repr(transparent)]
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Attributes: u16 {
        /// Bit 0: accessed (code and data).
        const ACCESSED = 1 << 0;
        /// Bit 1: readable (code) or writable (data), and busy (TSS).
        const RW = 1 << 1;
        /// Bit 2: conforming (code) or expand-down (data).
        const CONFORMING = 1 << 2;
        /// Bit 3: code rather than data.
        const EXECUTABLE = 1 << 3;
        /// Bit 4: code or data rather than a system descriptor.
        const S = 1 << 4;
        /// Bits 6:5: descriptor privilege level.
        const DPL = 3 << 5;
        /// Bit 7: present; 0 marks a null data segment (SVM-15.5.1-040).
        const P = 1 << 7;
        /// Bit 8: for software.
        const AVL = 1 << 8;
        /// Bit 9: 64-bit code; illegal together with D in long mode (SVM-15.5.1-C-014).
        const L = 1 << 9;
        /// Bit 10: 32-bit default size (D, or B of a stack segment).
        const DB = 1 << 10;
        /// Bit 11: the descriptor's limit counted pages.
        const G = 1 << 11;
        /// 16-bit read/write data, DPL 0.
        const DATA = 0x093;
        /// 16-bit execute/read code, DPL 0.
        const CODE = 0x09b;
        /// Flat 32-bit read/write data, DPL 0.
        const DATA_32 = 0xc93;
        /// Flat 32-bit execute/read code, DPL 0.
        const CODE_32 = 0xc9b;
        /// Flat 64-bit execute/read code, DPL 0.
        const CODE_64 = 0xa9b;
        /// A busy 32-bit or 64-bit TSS.
        const TSS_BUSY = 0x08b;
        /// A local descriptor table.
        const LDT = 0x082;
    }
}

impl Attributes {
    /// Bits 6:5, 0 to 3. After an exit the CPL is the VMCB's CPL field, not this (SVM-15.5.1-043).
    #[must_use]
    pub const fn dpl(self) -> u8 {
        (self.bits() >> 5 & 3) as u8
    }

    /// The same attributes with another privilege level (2 bits).
    #[must_use]
    pub const fn with_dpl(self, dpl: u8) -> Self {
        Self::from_bits_retain(self.bits() & !Self::DPL.bits() | ((dpl as u16 & 3) << 5))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_attributes_are_made_of_their_bits() {
        use Attributes as A;
        assert_eq!(A::CODE_64, A::CODE | A::L | A::G);
        assert_eq!(A::DATA_32, A::DATA | A::DB | A::G);
        assert_eq!(A::CODE_32, A::CODE | A::DB | A::G);
        assert_eq!(A::CODE, A::DATA | A::EXECUTABLE);
        assert_eq!(A::DATA, A::P | A::S | A::RW | A::ACCESSED);
        assert_eq!(A::TSS_BUSY, A::P | A::EXECUTABLE | A::RW | A::ACCESSED);
    }

    #[test]
    fn dpl_reads_back_and_leaves_its_neighbours() {
        for dpl in 0..4 {
            assert_eq!(Attributes::CODE_64.with_dpl(dpl).dpl(), dpl);
        }
        assert_eq!(Attributes::DATA.with_dpl(3).bits(), 0x0f3);
        assert_eq!(Attributes::DATA.with_dpl(3).with_dpl(4), Attributes::DATA);
    }

    #[test]
    fn real_mode_bases_follow_the_selector() {
        assert_eq!(Segment::real_mode_data(0xffff).base, 0xffff0);
        assert_eq!(Segment::real_mode_code(0x07c0).base, 0x7c00);
        assert_eq!(Segment::NULL, Segment::default());
        assert_eq!(DescriptorTable::new(5, 0xffff).limit, 0xffff);
    }
}
