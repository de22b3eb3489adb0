use super::*;

fn program(regions: &[(u64, u32, u32)], steps: &[(u8, u8)]) -> Vec<u8> {
    let mut bytes = b"SVMP\x01\0".to_vec();
    bytes.extend((regions.len() as u16).to_le_bytes());
    bytes.extend((steps.len() as u16).to_le_bytes());
    bytes.extend([0; 6]);
    for (target, length, offset) in regions {
        bytes.extend(target.to_le_bytes());
        bytes.extend(length.to_le_bytes());
        bytes.extend(offset.to_le_bytes());
    }
    for (cpl, length) in steps {
        bytes.extend([*cpl, *length]);
        bytes.extend(1..=MAX_CODE as u8);
        (0..REGISTERS as u64).for_each(|n| bytes.extend((n << 56 | n).to_le_bytes()));
    }
    bytes
}

fn error(bytes: &[u8]) -> Option<BadProgram> {
    Program::parse(bytes).err()
}

#[test]
fn the_default_program_has_no_steps() {
    let bytes = empty();
    let program = Program::parse(&bytes).expect("well-formed");
    assert_eq!((program.regions().count(), program.steps().count()), (0, 0));
}

#[test]
fn regions_and_steps_come_back() {
    let bytes = program(
        &[(SCRATCH.start, 4, 0), (SCRATCH.end - 2, 2, 2)],
        &[(0, 2), (3, 46), (0, 0)],
    );
    let program = Program::parse(&bytes).expect("well-formed");
    let regions: Vec<_> = program.regions().collect();
    assert_eq!(
        regions[0],
        Region {
            target: 0x0100_0000,
            bytes: b"SVMP"
        }
    );
    assert_eq!(
        regions[1],
        Region {
            target: 0x01ff_fffe,
            bytes: b"MP"
        }
    );
    let steps: Vec<_> = program.steps().collect();
    assert_eq!((steps.len(), steps[0].user, steps[0].code), (3, false, &[1, 2][..]));
    assert_eq!((steps[1].user, steps[1].code.len(), steps[2].code.len()), (true, 46, 0));
    assert_eq!(steps[1].registers[9], 9 << 56 | 9);
}

#[test]
fn headers() {
    assert_eq!(error(b""), Some(BadProgram::Magic));
    assert_eq!(error(b"SVMR\x01\0\0\0\0\0\0\0\0\0\0\0"), Some(BadProgram::Magic));
    assert_eq!(error(b"SVMP\x01\0\0\0\0\0\0\0\0\0\0"), Some(BadProgram::TooLong));
    assert_eq!(error(b"SVMP\x02\0\0\0\0\0\0\0\0\0\0\0"), Some(BadProgram::Version(2)));
    assert_eq!(error(b"SVMP\x01\0\0\0\0\0\0\0\0\0\0\0"), None);
}

#[test]
fn tables_must_fit() {
    let bytes = program(&[], &[(0, 0), (0, 0)]);
    assert_eq!(error(&bytes), None);
    assert_eq!(error(&bytes[..bytes.len() - 1]), Some(BadProgram::TooLong));
    assert_eq!(error(&program(&[], &[(0, 0); 511])), None);
    assert_eq!(error(&program(&[], &[(0, 0); 512])), Some(BadProgram::TooLong));
}

#[test]
fn regions_have_bounds() {
    let size = 32;
    assert_eq!(error(&program(&[(SCRATCH.start, size, 0)], &[])), None);
    assert_eq!(
        error(&program(&[(SCRATCH.start, size, 1)], &[])),
        Some(BadProgram::RegionSource(0))
    );
    assert_eq!(
        error(&program(&[(SCRATCH.start, u32::MAX, u32::MAX)], &[])),
        Some(BadProgram::RegionSource(0))
    );
    for outside in [0, SCRATCH.start - 1, SCRATCH.end - 1, u64::MAX] {
        assert_eq!(
            error(&program(&[(outside, 2, 0)], &[])),
            Some(BadProgram::RegionTarget(0))
        );
    }
    assert_eq!(
        error(&program(&[(SCRATCH.end - 2, 2, 0), (0, 0, 0)], &[])),
        Some(BadProgram::RegionTarget(1))
    );
}

#[test]
fn steps_have_bounds() {
    assert_eq!(error(&program(&[], &[(0, 0), (1, 0)])), Some(BadProgram::Cpl(1)));
    assert_eq!(error(&program(&[], &[(0, 47)])), Some(BadProgram::CodeLength(0)));
    let text = [BadProgram::Magic, BadProgram::Version(2), BadProgram::Cpl(7)].map(|bad| bad.to_string());
    assert_eq!(text[2], "step 7 has a CPL that is neither 0 nor 3");
}
