//! Prefixes and ModRM: what comes around an opcode (volume 3, 1.2 and 1.4).

use super::CodeSize;

/// The bytes of an instruction, with its prefixes read.
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    code: CodeSize,
    rex: u8,
    operand_override: bool,
    address_override: bool,
    lock: bool,
    repeat: bool,
}

/// A ModRM byte whose operand in memory, if there is one, has been skipped.
pub struct ModRm {
    /// The byte.
    pub raw: u8,
    /// Bits 5:3: part of the opcode.
    pub reg: u8,
    /// The register that bits 5:3 name, REX.R included.
    pub operand: u8,
    /// The register that mod = 3 names, REX.B included; `None` for memory.
    pub register: Option<u8>,
}

impl<'a> Reader<'a> {
    /// Reads the prefixes; stands at the opcode. `None` if there is nothing else.
    #[must_use]
    pub fn new(bytes: &'a [u8], code: CodeSize) -> Option<Self> {
        let bytes = &bytes[..bytes.len().min(15)];
        let (operand_override, address_override) = (false, false);
        let mut reader = Self {
            bytes,
            at: 0,
            code,
            rex: 0,
            operand_override,
            address_override,
            lock: false,
            repeat: false,
        };
        loop {
            let byte = *bytes.get(reader.at)?;
            let mut rex = 0;
            match byte {
                0x66 => reader.operand_override = true,
                0x67 => reader.address_override = true,
                0xf0 => reader.lock = true,
                0xf2 | 0xf3 => reader.repeat = true,
                0x26 | 0x2e | 0x36 | 0x3e | 0x64 | 0x65 => (),
                0x40..=0x4f if code == CodeSize::Bits64 => rex = byte,
                _ => return Some(reader),
            }
            reader.rex = rex; // a REX prefix counts only right before the opcode
            reader.at += 1;
        }
    }

    /// The next byte, one after the other.
    pub fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    /// The first byte after the prefixes.
    pub fn opcode(&mut self) -> Option<u8> {
        self.byte()
    }

    /// Bytes read so far.
    #[must_use]
    pub const fn length(&self) -> u8 {
        self.at as u8 // at most 15
    }

    /// True after F0.
    #[must_use]
    pub const fn is_locked(&self) -> bool {
        self.lock
    }

    /// True after a REX prefix, with which the numbers 4 to 7 of byte registers mean SPL, BPL, SIL and DIL.
    #[must_use]
    pub const fn has_rex(&self) -> bool {
        self.rex != 0
    }

    /// Bytes of an address: 2, 4 or 8.
    #[must_use]
    pub const fn address_size(&self) -> u8 {
        match (self.code, self.address_override) {
            (CodeSize::Bits64, false) => 8,
            (CodeSize::Bits64, true) | (CodeSize::Bits32, false) | (CodeSize::Bits16, true) => 4,
            (CodeSize::Bits32, true) | (CodeSize::Bits16, false) => 2,
        }
    }

    /// The next `size` bytes, at most 8, as a number with a sign.
    pub fn signed(&mut self, size: u8) -> Option<i64> {
        let mut bytes = [0; 8];
        for byte in &mut bytes[..usize::from(size)] {
            *byte = self.byte()?;
        }
        let unused = 64 - 8 * u32::from(size);
        Some(i64::from_le_bytes(bytes) << unused >> unused)
    }

    /// True after F2 or F3.
    #[must_use]
    pub const fn is_repeated(&self) -> bool {
        self.repeat
    }

    /// The same where REX.W means 8.
    #[must_use]
    pub const fn wide_operand_size(&self) -> u8 {
        if self.rex & 8 != 0 { 8 } else { self.operand_size() }
    }

    /// 2 or 4: what IN and OUT move.
    #[must_use]
    pub const fn operand_size(&self) -> u8 {
        if matches!(self.code, CodeSize::Bits16) == self.operand_override {
            4
        } else {
            2
        }
    }

    const fn rex_r(&self) -> u8 {
        (self.rex & 4) << 1
    }

    const fn rex_b(&self) -> u8 {
        (self.rex & 1) << 3
    }

    /// The numbers in the ModRM byte of a move to or from a control or debug register: mod is taken for 3. With
    /// `lock_adds_8` a LOCK prefix means CR8 and up.
    pub fn special_register(&mut self, lock_adds_8: bool) -> Option<(u8, u8)> {
        let raw = self.byte()?;
        let lock = if lock_adds_8 && self.lock { 8 } else { 0 };
        Some((raw >> 3 & 7 | self.rex_r() | lock, raw & 7 | self.rex_b()))
    }

    /// Reads ModRM, and skips SIB and displacement.
    pub fn modrm(&mut self) -> Option<ModRm> {
        let raw = self.byte()?;
        let (mode, reg, rm) = (raw >> 6, raw >> 3 & 7, raw & 7);
        if mode == 3 {
            return Some(ModRm {
                raw,
                reg,
                operand: reg | self.rex_r(),
                register: Some(rm | self.rex_b()),
            });
        }
        let sixteen = matches!(self.code, CodeSize::Bits16) != self.address_override;
        let displacement = if sixteen && self.code != CodeSize::Bits64 {
            match (mode, rm) {
                (0, 6) | (2, _) => 2,
                (1, _) => 1,
                _ => 0,
            }
        } else {
            let base = if rm == 4 { self.byte()? & 7 } else { rm };
            match (mode, base) {
                (0, 5) | (2, _) => 4,
                (1, _) => 1,
                _ => 0,
            }
        };
        for _ in 0..displacement {
            self.byte()?;
        }
        Some(ModRm {
            raw,
            reg,
            operand: reg | self.rex_r(),
            register: None,
        })
    }
}
