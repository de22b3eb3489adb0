//! Instructions that touch a page which the hypervisor keeps for itself: what they store, or where the loaded value goes.
//!
//! A handful of moves, which is what compilers make of accesses to a device; the tests hold them against `yaxpeax-x86`,
//! which knows every instruction and would be a third of the image. An exit caused by nested paging tells neither the bytes
//! nor the length of the instruction on a processor without decode assists.

use svm::insn::{CodeSize, Reader};

/// A general register, or a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register {
    /// 0 to 15.
    pub number: u8,
    /// Bits below the part: 8 for AH, CH, DH, BH, else 0.
    pub shift: u8,
}

/// What an instruction does with its operand in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Stores a register.
    StoreRegister(Register),
    /// Stores a constant; it counts as far as the operand is wide.
    StoreConstant(u64),
    /// Loads a register: MOV, or with zeroes or the sign in the upper part of `width` bytes.
    Load {
        /// Which.
        to: Register,
        /// Bytes written to it.
        width: u8,
        /// Whether the upper part is the sign.
        signed: bool,
    },
    /// XCHG with a register.
    Exchange(Register),
}

/// An instruction with one operand in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// What it does.
    pub effect: Effect,
    /// Bytes of the operand in memory: 1, 2, 4 or 8.
    pub size: u8,
    /// Bytes of the instruction.
    pub length: u8,
}

/// Decodes the instruction at the start of `bytes`; `None` if it is none of those above, or 16-bit code: no operating
/// system drives its APIC from there.
#[must_use]
pub fn decode(bytes: &[u8], code: CodeSize) -> Option<Access> {
    if code == CodeSize::Bits16 {
        return None;
    }
    let mut reader = Reader::new(bytes, code)?;
    let opcode = reader.opcode()?;
    let exchanges = matches!(opcode, 0x86 | 0x87);
    if reader.is_locked() && !exchanges {
        return None;
    }
    // Bit 0 of the opcode: an operand of the mode's size rather than a byte.
    let size = if opcode & 1 != 0 { reader.wide_operand_size() } else { 1 };
    let (effect, size) = match opcode {
        0x88 | 0x89 => (Effect::StoreRegister(in_memory(&mut reader, size)?), size),
        0x8a | 0x8b => {
            let to = in_memory(&mut reader, size)?;
            (load(to, size, false), size)
        }
        0x86 | 0x87 => (Effect::Exchange(in_memory(&mut reader, size)?), size),
        0xa0..=0xa3 => {
            reader.signed(reader.address_size())?;
            let accumulator = register(&reader, 0, size);
            let stores = opcode & 2 != 0;
            let effect = if stores {
                Effect::StoreRegister(accumulator)
            } else {
                load(accumulator, size, false)
            };
            (effect, size)
        }
        0xc6 | 0xc7 => {
            let modrm = reader.modrm()?;
            if modrm.reg != 0 || modrm.register.is_some() {
                return None;
            }
            (Effect::StoreConstant(reader.signed(size.min(4))? as u64), size)
        }
        0x0f => match reader.byte()? {
            extends @ (0xb6 | 0xb7 | 0xbe | 0xbf) => {
                let (from, to) = (1 + (extends & 1), reader.wide_operand_size());
                let register = in_memory(&mut reader, to)?;
                (load(register, to, extends & 8 != 0), from)
            }
            _ => return None,
        },
        _ => return None,
    };
    Some(Access {
        effect,
        size,
        length: reader.length(),
    })
}

/// Reads ModRM, whose operand in memory is skipped; the other operand, of `size` bytes. `None` if both are registers.
fn in_memory(reader: &mut Reader, size: u8) -> Option<Register> {
    let modrm = reader.modrm()?;
    modrm.register.is_none().then(|| register(reader, modrm.operand, size))
}

/// A register by its number, which means AH, CH, DH and BH for bytes without a REX prefix.
fn register(reader: &Reader, number: u8, size: u8) -> Register {
    match number {
        4..=7 if size == 1 && !reader.has_rex() => Register {
            number: number - 4,
            shift: 8,
        },
        _ => Register { number, shift: 0 },
    }
}

const fn load(to: Register, width: u8, signed: bool) -> Effect {
    Effect::Load { to, width, signed }
}

#[cfg(test)]
mod tests;
