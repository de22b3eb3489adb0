use super::*;

const fn plain(number: u8) -> Register {
    Register { number, shift: 0 }
}

fn long(bytes: &[u8]) -> Option<(Effect, u8, u8)> {
    let mut padded = [0x90; 15];
    padded[..bytes.len()].copy_from_slice(bytes);
    decode(&padded, CodeSize::Bits64).map(|access| (access.effect, access.size, access.length))
}

#[test]
fn stores() {
    use Effect::{StoreConstant, StoreRegister};
    // mov [rdi - 0xA0D000], esi: what Linux does with its APIC
    assert_eq!(
        long(&[0x89, 0xB7, 0x00, 0x30, 0x5F, 0xFF]),
        Some((StoreRegister(plain(6)), 4, 6))
    );
    // mov dword [0xFFFFFFFFFF5FC0B0], 0
    assert_eq!(
        long(&[0xC7, 0x04, 0x25, 0xB0, 0xC0, 0x5F, 0xFF, 0, 0, 0, 0]),
        Some((StoreConstant(0), 4, 11))
    );
    // mov [rax], r9d; mov [rax], r9; mov [rax], cx; mov [rax], ch; mov [rax], sil
    assert_eq!(long(&[0x44, 0x89, 0x08]), Some((StoreRegister(plain(9)), 4, 3)));
    assert_eq!(long(&[0x4C, 0x89, 0x08]), Some((StoreRegister(plain(9)), 8, 3)));
    assert_eq!(long(&[0x66, 0x89, 0x08]), Some((StoreRegister(plain(1)), 2, 3)));
    assert_eq!(
        long(&[0x88, 0x28]),
        Some((StoreRegister(Register { number: 1, shift: 8 }), 1, 2))
    );
    assert_eq!(long(&[0x40, 0x88, 0x30]), Some((StoreRegister(plain(6)), 1, 3)));
    // mov qword [rax], -1
    assert_eq!(
        long(&[0x48, 0xC7, 0x00, 0xFF, 0xFF, 0xFF, 0xFF]),
        Some((StoreConstant(u64::MAX), 8, 7))
    );
}

#[test]
fn loads_and_exchanges() {
    let load = |number, width, signed| Effect::Load {
        to: plain(number),
        width,
        signed,
    };
    assert_eq!(long(&[0x8B, 0x07]), Some((load(0, 4, false), 4, 2)));
    assert_eq!(long(&[0x0F, 0xB6, 0x07]), Some((load(0, 4, false), 1, 3)));
    assert_eq!(long(&[0x48, 0x0F, 0xBF, 0x07]), Some((load(0, 8, true), 2, 4)));
    assert_eq!(long(&[0x87, 0x37]), Some((Effect::Exchange(plain(6)), 4, 2)));
}

#[test]
fn other_modes() {
    let one = |bytes: &[u8], code| decode(bytes, code).map(|access| (access.effect, access.size, access.length));
    let esi = Effect::StoreRegister(plain(6));
    assert_eq!(
        one(&[0x89, 0x35, 0xB0, 0, 0xE0, 0xFE], CodeSize::Bits32),
        Some((esi, 4, 6))
    );
    assert_eq!(one(&[0x66, 0x89, 0x34], CodeSize::Bits16), None);
}

#[test]
fn others_are_none() {
    for other in [
        [0x90, 0x90, 0x90],
        [0x89, 0xC8, 0x90],
        [0x0F, 0xA2, 0x90],
        [0x01, 0x07, 0x90],
        [0xF3, 0xA4, 0x90],
    ] {
        assert_eq!(long(&other), None, "{other:x?}");
    }
}

// What yaxpeax-x86 makes of the same bytes. It has a module for each mode, with types of its own that look alike.
macro_rules! mode {
    ($mode:ident $(, $wide:ident)?) => {
        fn $mode(bytes: &[u8]) -> Option<Access> {
            use yaxpeax_arch::{Decoder, LengthedInstruction, U8Reader};
            use yaxpeax_x86::$mode::{InstDecoder, Opcode, Operand, RegSpec, register_class};

            let register = |register: RegSpec| {
                let is_high = register.class() == register_class::B && register.num() >= 4;
                Register {
                    number: if is_high { register.num() - 4 } else { register.num() },
                    shift: if is_high { 8 } else { 0 },
                }
            };
            let instruction = InstDecoder::default().decode(&mut U8Reader::new(bytes)).ok()?;
            let (first, second) = (instruction.operand(0), instruction.operand(1));
            let signed = matches!(instruction.opcode(), Opcode::MOVSX);
            let effect = match (instruction.opcode(), first, second) {
                (Opcode::MOV, memory, Operand::Register { reg }) if memory.is_memory() => {
                    Effect::StoreRegister(register(reg))
                }
                (Opcode::MOV, memory, constant) if memory.is_memory() => Effect::StoreConstant(match constant {
                    Operand::ImmediateI8 { imm } => imm as u64,
                    Operand::ImmediateU8 { imm } => imm.into(),
                    Operand::ImmediateI16 { imm } => imm as u64,
                    Operand::ImmediateU16 { imm } => imm.into(),
                    Operand::ImmediateI32 { imm } => imm as u64,
                    Operand::ImmediateU32 { imm } => imm.into(),
                    $(Operand::$wide { imm } => imm as u64,)?
                    _ => return None,
                }),
                (Opcode::MOV | Opcode::MOVZX | Opcode::MOVSX, Operand::Register { reg }, memory) if memory.is_memory() => {
                    Effect::Load { to: register(reg), width: reg.width(), signed }
                }
                (Opcode::XCHG, memory, Operand::Register { reg }) if memory.is_memory() => {
                    Effect::Exchange(register(reg))
                }
                _ => return None,
            };
            Some(Access {
                effect,
                size: instruction.mem_size()?.bytes_size()?,
                length: u8::try_from(instruction.len().to_const()).ok()?,
            })
        }
    };
}

mode!(long_mode, ImmediateI64);
mode!(protected_mode);

/// The numbers of a linear congruential generator: the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u8 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 56) as u8
    }

    fn pick(&mut self, from: &[u8]) -> u8 {
        from[usize::from(self.next()) % from.len()]
    }
}

#[test]
fn a_decoder_that_knows_every_instruction_says_the_same() {
    const OPCODES: &[u8] = &[
        0x86, 0x87, 0x88, 0x89, 0x8a, 0x8b, 0x8d, 0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xc6, 0xc7, 0x0f, 0x63,
    ];
    const EXTENDED: &[u8] = &[0xb6, 0xb7, 0xbe, 0xbf, 0xa2, 0xc3];
    let mut random = Random(1);
    let mut known = 0;
    for _ in 0..300_000 {
        let mut bytes: [u8; 15] = core::array::from_fn(|_| random.next());
        let mut at = 0;
        for prefix in [0x66, 0x67, 0x2e, 0x40 | random.next() & 15] {
            if random.next() & 3 == 0 {
                bytes[at] = prefix;
                at += 1;
            }
        }
        bytes[at] = random.pick(OPCODES);
        if bytes[at] == 0x0f {
            bytes[at + 1] = random.pick(EXTENDED);
        }
        for (code, other) in [
            (CodeSize::Bits64, long_mode(&bytes)),
            (CodeSize::Bits32, protected_mode(&bytes)),
        ] {
            assert_eq!(decode(&bytes, code), other, "{bytes:02x?} {code:?}");
            known += u32::from(other.is_some());
        }
    }
    assert!(known > 100_000, "{known}");
}
