//! Recognises the instructions that a hypervisor emulates or answers with an exception, and tells their length: what
//! NRIPS and decode assists (15.7.1, 15.8.4) would give, for processors that have neither (volume 3, appendix A).

mod reader;

pub use reader::{ModRm, Reader};

/// How code at CS:RIP is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeSize {
    /// Real mode, virtual-8086 mode, and segments with D = 0.
    Bits16,
    /// Segments with D = 1.
    Bits32,
    /// CS.L = 1 in long mode.
    Bits64,
}

/// An instruction, without its operands in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instruction {
    /// 0F 01 D8 (15.5).
    Vmrun,
    /// 0F 01 D9 (15.19).
    Vmmcall,
    /// 0F 01 DA (15.5.2).
    Vmload,
    /// 0F 01 DB (15.5.2).
    Vmsave,
    /// 0F 01 DC (15.17).
    Stgi,
    /// 0F 01 DD (15.17).
    Clgi,
    /// 0F 01 DE (15.27).
    Skinit,
    /// 0F 01 DF (15.16.2).
    Invlpga,
    /// 0F A2.
    Cpuid,
    /// F4.
    Hlt,
    /// 0F 32.
    Rdmsr,
    /// 0F 30.
    Wrmsr,
    /// 0F 33.
    Rdpmc,
    /// 0F 31.
    Rdtsc,
    /// 0F 01 /7 with an operand in memory.
    Invlpg,
    /// F3 90.
    Pause,
    /// 0F 06.
    Clts,
    /// 0F 08.
    Invd,
    /// 0F 01 /6.
    Lmsw(Source),
    /// 0F 01 /4: to a general register, or to memory.
    Smsw {
        /// 0 to 15, `None` for memory.
        gpr: Option<u8>,
        /// Bytes written to the register: 2, 4 or 8.
        size: u8,
    },
    /// 0F 20: CR`cr` to general register `gpr`.
    MovFromCr {
        /// 0 to 15; a LOCK prefix adds 8.
        cr: u8,
        /// 0 to 15.
        gpr: u8,
    },
    /// 0F 22: general register `gpr` to CR`cr`.
    MovToCr {
        /// 0 to 15; a LOCK prefix adds 8.
        cr: u8,
        /// 0 to 15.
        gpr: u8,
    },
    /// 0F 21: DR`dr` to general register `gpr`.
    MovFromDr {
        /// 0 to 15.
        dr: u8,
        /// 0 to 15.
        gpr: u8,
    },
    /// 0F 23: general register `gpr` to DR`dr`.
    MovToDr {
        /// 0 to 15.
        dr: u8,
        /// 0 to 15.
        gpr: u8,
    },
    /// E4, E5, EC, ED.
    In {
        /// Where the port's number is.
        port: Port,
        /// Bytes moved: 1, 2 or 4.
        size: u8,
    },
    /// E6, E7, EE, EF.
    Out {
        /// Where the port's number is.
        port: Port,
        /// Bytes moved: 1, 2 or 4.
        size: u8,
    },
}

/// An operand that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A general register, 0 to 15.
    Register(u8),
    /// In memory.
    Memory,
}

/// Where the number of a port is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// In the instruction, 8 bits.
    Immediate(u8),
    /// In DX.
    Dx,
}

/// An instruction with its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// What it is.
    pub instruction: Instruction,
    /// Bytes, prefixes included: 1 to 15.
    pub length: u8,
}

/// Recognises the instruction at the start of `bytes`. `None` if it is none of [`Instruction`], is cut short, or is longer
/// than 15 bytes.
#[must_use]
pub fn decode(bytes: &[u8], code: CodeSize) -> Option<Decoded> {
    let mut reader = Reader::new(bytes, code)?;
    let instruction = match reader.opcode()? {
        0x0f => two_bytes(&mut reader)?,
        0x90 if reader.is_repeated() => Instruction::Pause,
        0xf4 => Instruction::Hlt,
        opcode @ (0xe4..=0xe7 | 0xec..=0xef) => port(&mut reader, opcode)?,
        _ => return None,
    };
    Some(Decoded {
        instruction,
        length: reader.length(),
    })
}

fn two_bytes(reader: &mut Reader<'_>) -> Option<Instruction> {
    Some(match reader.byte()? {
        0x01 => group_7(reader)?,
        0x06 => Instruction::Clts,
        0x08 => Instruction::Invd,
        0x20 => {
            let (cr, gpr) = reader.special_register(true)?;
            Instruction::MovFromCr { cr, gpr }
        }
        0x21 => {
            let (dr, gpr) = reader.special_register(false)?;
            Instruction::MovFromDr { dr, gpr }
        }
        0x22 => {
            let (cr, gpr) = reader.special_register(true)?;
            Instruction::MovToCr { cr, gpr }
        }
        0x23 => {
            let (dr, gpr) = reader.special_register(false)?;
            Instruction::MovToDr { dr, gpr }
        }
        0x30 => Instruction::Wrmsr,
        0x31 => Instruction::Rdtsc,
        0x32 => Instruction::Rdmsr,
        0x33 => Instruction::Rdpmc,
        0xa2 => Instruction::Cpuid,
        _ => return None,
    })
}

/// 0F 01.
fn group_7(reader: &mut Reader<'_>) -> Option<Instruction> {
    let modrm = reader.modrm()?;
    Some(match modrm {
        ModRm { raw: 0xd8, .. } => Instruction::Vmrun,
        ModRm { raw: 0xd9, .. } if !reader.is_repeated() => Instruction::Vmmcall, // with F2 or F3 it is VMGEXIT
        ModRm { raw: 0xda, .. } => Instruction::Vmload,
        ModRm { raw: 0xdb, .. } => Instruction::Vmsave,
        ModRm { raw: 0xdc, .. } => Instruction::Stgi,
        ModRm { raw: 0xdd, .. } => Instruction::Clgi,
        ModRm { raw: 0xde, .. } => Instruction::Skinit,
        ModRm { raw: 0xdf, .. } => Instruction::Invlpga,
        ModRm {
            reg: 6,
            register: Some(gpr),
            ..
        } => Instruction::Lmsw(Source::Register(gpr)),
        ModRm {
            reg: 6, register: None, ..
        } => Instruction::Lmsw(Source::Memory),
        ModRm { reg: 4, register, .. } => Instruction::Smsw {
            gpr: register,
            size: reader.wide_operand_size(),
        },
        ModRm {
            reg: 7, register: None, ..
        } => Instruction::Invlpg,
        _ => return None,
    })
}

/// IN and OUT: bit 3 selects DX, bit 1 OUT, bit 0 the operand size rather than a byte.
fn port(reader: &mut Reader<'_>, opcode: u8) -> Option<Instruction> {
    let port = if opcode & 8 != 0 {
        Port::Dx
    } else {
        Port::Immediate(reader.byte()?)
    };
    let size = if opcode & 1 != 0 { reader.operand_size() } else { 1 };
    Some(if opcode & 2 != 0 {
        Instruction::Out { port, size }
    } else {
        Instruction::In { port, size }
    })
}

#[cfg(test)]
mod tests;
