use super::CodeSize::{Bits16, Bits32, Bits64};
use super::*;

#[track_caller]
fn is(code: CodeSize, bytes: &[u8], instruction: Instruction) {
    let length = bytes.len() as u8;
    let mut followed = bytes.to_vec();
    followed.extend([0x90; 15]);
    assert_eq!(
        decode(&followed, code),
        Some(Decoded { instruction, length }),
        "{bytes:02x?}"
    );
    for cut in 0..bytes.len() {
        assert_eq!(decode(&bytes[..cut], code), None, "{bytes:02x?} cut to {cut}");
    }
}

#[test]
fn svm_instructions() {
    use Instruction::*;
    let all = [Vmrun, Vmmcall, Vmload, Vmsave, Stgi, Clgi, Skinit, Invlpga];
    for (last, instruction) in (0xd8..).zip(all) {
        for code in [Bits16, Bits32, Bits64] {
            is(code, &[0x0f, 0x01, last], instruction);
            is(code, &[0x67, 0x0f, 0x01, last], instruction);
        }
        is(Bits64, &[0x2e, 0x48, 0x0f, 0x01, last], instruction);
    }
    assert_eq!(decode(&[0xf3, 0x0f, 0x01, 0xd9], Bits64), None, "VMGEXIT");
    assert_eq!(decode(&[0x0f, 0x01, 0xd7], Bits64), None);
    assert_eq!(decode(&[0x0f, 0x01, 0xf8], Bits64), None, "SWAPGS");
}

#[test]
fn pause_is_a_repeated_nop() {
    for code in [Bits16, Bits32, Bits64] {
        is(code, &[0xf3, 0x90], Instruction::Pause);
        assert_eq!(decode(&[0x90], code), None);
    }
}

#[test]
fn instructions_without_operands() {
    use Instruction::*;
    let plain = [
        (0xa2, Cpuid),
        (0x30, Wrmsr),
        (0x31, Rdtsc),
        (0x32, Rdmsr),
        (0x33, Rdpmc),
        (0x06, Clts),
        (0x08, Invd),
    ];
    for (opcode, instruction) in plain {
        is(Bits16, &[0x0f, opcode], instruction);
        is(Bits64, &[0x66, 0xf2, 0x41, 0x0f, opcode], instruction);
    }
    is(Bits64, &[0xf4], Hlt);
    is(Bits32, &[0x3e, 0xf4], Hlt);
    assert_eq!(decode(&[0x40, 0xf4], Bits32), None, "INC EAX outside 64-bit mode");
    assert_eq!(decode(&[0x0f, 0x07], Bits64), None);
    assert_eq!(decode(&[0x90], Bits64), None);
}

#[test]
fn control_and_debug_registers() {
    use Instruction::*;
    is(Bits64, &[0x0f, 0x20, 0xd8], MovFromCr { cr: 3, gpr: 0 });
    is(Bits64, &[0x0f, 0x22, 0xe7], MovToCr { cr: 4, gpr: 7 });
    is(Bits64, &[0x45, 0x0f, 0x22, 0xc7], MovToCr { cr: 8, gpr: 15 });
    is(Bits64, &[0x41, 0x0f, 0x20, 0xc0], MovFromCr { cr: 0, gpr: 8 });
    is(Bits64, &[0x44, 0x0f, 0x20, 0xc0], MovFromCr { cr: 8, gpr: 0 });
    is(Bits32, &[0xf0, 0x0f, 0x20, 0xc1], MovFromCr { cr: 8, gpr: 1 });
    is(Bits32, &[0x0f, 0x20, 0x1a], MovFromCr { cr: 3, gpr: 2 });
    is(Bits64, &[0x0f, 0x21, 0xf9], MovFromDr { dr: 7, gpr: 1 });
    is(Bits64, &[0x0f, 0x23, 0xf1], MovToDr { dr: 6, gpr: 1 });
    is(Bits64, &[0xf0, 0x0f, 0x23, 0xf1], MovToDr { dr: 6, gpr: 1 });
    is(Bits64, &[0x41, 0x66, 0x0f, 0x20, 0xc0], MovFromCr { cr: 0, gpr: 0 });
}

#[test]
fn ports() {
    use Instruction::*;
    is(
        Bits64,
        &[0xe4, 0x60],
        In {
            port: Port::Immediate(0x60),
            size: 1,
        },
    );
    is(
        Bits64,
        &[0xe5, 0xff],
        In {
            port: Port::Immediate(0xff),
            size: 4,
        },
    );
    is(
        Bits64,
        &[0xe6, 0xe9],
        Out {
            port: Port::Immediate(0xe9),
            size: 1,
        },
    );
    is(
        Bits32,
        &[0x66, 0xe7, 0x80],
        Out {
            port: Port::Immediate(0x80),
            size: 2,
        },
    );
    is(
        Bits16,
        &[0xed],
        In {
            port: Port::Dx,
            size: 2,
        },
    );
    is(
        Bits16,
        &[0x66, 0xed],
        In {
            port: Port::Dx,
            size: 4,
        },
    );
    is(
        Bits64,
        &[0xec],
        In {
            port: Port::Dx,
            size: 1,
        },
    );
    is(
        Bits64,
        &[0xee],
        Out {
            port: Port::Dx,
            size: 1,
        },
    );
    is(
        Bits64,
        &[0x48, 0xef],
        Out {
            port: Port::Dx,
            size: 4,
        },
    );
    is(
        Bits16,
        &[0x66, 0xee],
        Out {
            port: Port::Dx,
            size: 1,
        },
    );
    assert_eq!(decode(&[0xe8, 0, 0, 0, 0], Bits64), None);
    assert_eq!(decode(&[0xeb, 0], Bits64), None);
}

#[test]
fn operands_in_memory_are_skipped() {
    use Instruction::*;
    is(Bits64, &[0x0f, 0x01, 0x38], Invlpg);
    is(Bits64, &[0x0f, 0x01, 0x78, 1], Invlpg);
    is(Bits64, &[0x0f, 0x01, 0xb8, 1, 2, 3, 4], Invlpg);
    is(Bits64, &[0x0f, 0x01, 0x3d, 1, 2, 3, 4], Invlpg);
    is(Bits64, &[0x0f, 0x01, 0x3c, 0x24], Invlpg);
    is(Bits64, &[0x0f, 0x01, 0x3c, 0x25, 1, 2, 3, 4], Invlpg);
    is(Bits64, &[0x67, 0x0f, 0x01, 0x7c, 0x25, 1], Invlpg);
    is(Bits16, &[0x0f, 0x01, 0x3e, 1, 2], Invlpg);
    is(Bits16, &[0x0f, 0x01, 0x3c], Invlpg);
    is(Bits16, &[0x67, 0x0f, 0x01, 0x3d, 1, 2, 3, 4], Invlpg);
    is(Bits32, &[0x67, 0x0f, 0x01, 0xbc, 1, 2], Invlpg);
    is(Bits32, &[0x67, 0x0f, 0x01, 0x7c, 1], Invlpg);
    is(Bits16, &[0x0f, 0x01, 0xf0], Lmsw(Source::Register(0)));
    is(Bits64, &[0x41, 0x0f, 0x01, 0xf7], Lmsw(Source::Register(15)));
    is(Bits64, &[0x65, 0x0f, 0x01, 0x30], Lmsw(Source::Memory));
}

#[test]
fn smsw_knows_its_operand() {
    use Instruction::Smsw;
    let register = |gpr, size| Smsw { gpr: Some(gpr), size };
    is(Bits16, &[0x0f, 0x01, 0xe0], register(0, 2));
    is(Bits32, &[0x0f, 0x01, 0xe3], register(3, 4));
    is(Bits64, &[0x49, 0x0f, 0x01, 0xe7], register(15, 8));
    let memory = Smsw { gpr: None, size: 4 };
    is(Bits64, &[0x0f, 0x01, 0x20], memory);
}

#[test]
fn fifteen_bytes_are_the_limit() {
    let mut longest = [0x66; 15];
    longest[13..].copy_from_slice(&[0x0f, 0xa2]);
    is(Bits64, &longest, Instruction::Cpuid);
    let mut longer = [0x66; 16];
    longer[14..].copy_from_slice(&[0x0f, 0xa2]);
    assert_eq!(decode(&longer, Bits64), None);
    assert_eq!(decode(&[0x66; 20], Bits64), None);
}
