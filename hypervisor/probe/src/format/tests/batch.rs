use super::{Draft, step};
use crate::*;

const CODE: &[u8] = &[0x90, 0xf4];

fn why(bytes: &[u8]) -> Option<Why> {
    Batch::parse(bytes).err().map(|bad| bad.why)
}

/// With one byte of the header other.
fn header_byte(at: usize, value: u8) -> Option<Why> {
    let mut draft = Draft::new(&[], &[], &[]);
    draft.header[at] = value;
    why(&draft.bytes())
}

fn steps_why(steps: &[Vec<u8>]) -> Option<Bad> {
    Batch::parse(&Draft::new(&[], &[], steps).bytes()).err()
}

fn step_why(record: Vec<u8>) -> Option<Why> {
    let bad = steps_why(&[step(0, 0, 0, &[], CODE), record])?;
    assert_eq!((bad.program, bad.step), (Some(0), Some(1)));
    Some(bad.why)
}

#[test]
fn the_default_batch_has_no_programs() {
    let batch = Batch::parse(&EMPTY).expect("well-formed");
    assert_eq!((batch.programs().count(), batch.shared().count()), (0, 0));
    let mut roomy = EMPTY.to_vec();
    roomy.resize(4096, 0);
    assert!(
        Batch::parse(&roomy).is_ok(),
        "what lies behind the batch is not its business"
    );
}

#[test]
fn headers_are_checked() {
    assert_eq!(why(b""), Some(Why::Magic));
    assert_eq!(why(&EMPTY[..39]), Some(Why::Magic));
    assert_eq!(header_byte(0, b's'), Some(Why::Magic));
    assert_eq!(header_byte(4, 1), Some(Why::Version(1)));
    assert_eq!(header_byte(6, 4), Some(Why::Unknown(4)));
    assert_eq!(header_byte(36, 8), Some(Why::Unknown(8)));
    assert_eq!(header_byte(8, 57), Some(Why::Size(57)));
    assert_eq!(header_byte(8, 32), Some(Why::Size(32)));
    assert_eq!(header_byte(11, 1), Some(Why::Size(0x0100_0038)));
    assert_eq!(header_byte(16, 1), None);
    assert_eq!(header_byte(16, 2), Some(Why::First(2)));
    assert_eq!(header_byte(20, 1), Some(Why::Length(1)));
    assert_eq!(header_byte(23, 0xff), Some(Why::Length(0xff00_0000)));
    assert_eq!(header_byte(24, 41), Some(Why::Length(41)));
    assert_eq!(header_byte(31, 0xff), Some(Why::Length(0xff00_0028)));
    assert_eq!(
        header_byte(12, 2),
        Some(Why::Length(0)),
        "the second program has no record"
    );
}

#[test]
fn a_later_first_program_skips() {
    let one = Draft::new(&[], &[], &[]);
    let mut header = one.header.clone();
    header[8] += 16;
    (header[12], header[16]) = (2, 1);
    let bytes = [header, one.records.clone(), one.records].concat();
    let programs: Vec<_> = Batch::parse(&bytes)
        .expect("well-formed")
        .programs()
        .flatten()
        .collect();
    assert_eq!((programs.len(), programs[0].index, programs[0].tag), (1, 1, 0x1234));
}

#[test]
fn programs_are_as_long_as_their_parts() {
    let with = |change: fn(&mut Vec<u8>)| {
        let mut draft = Draft::new(&[], &[], &[step(0, 0, 0, &[], CODE)]);
        change(&mut draft.records);
        why(&draft.bytes())
    };
    assert_eq!(with(|_| ()), None);
    assert_eq!(
        with(|record| record[0] = 48),
        Some(Why::Length(48)),
        "longer than the batch"
    );
    assert_eq!(
        with(|record| record[0] = 8),
        Some(Why::Length(8)),
        "shorter than a head"
    );
    assert_eq!(with(|record| record[0] = 36), Some(Why::Length(36)));
    assert_eq!(
        with(|record| record[4] = 2),
        Some(Why::Length(40)),
        "no room for two regions"
    );
    assert_eq!(
        with(|record| record[6] = 2),
        Some(Why::Length(40)),
        "no room for two watches"
    );
    assert_eq!(
        with(|record| record[8] = 0),
        Some(Why::Length(40)),
        "a step that is not counted"
    );
    assert_eq!(
        with(|record| record[8] = 2),
        Some(Why::Length(0)),
        "a step that is not there"
    );
    assert_eq!(with(|record| record[10] = 2), Some(Why::Unknown(2)));
    let bad = steps_why(&[step(0, 0, 0, &[], CODE), vec![0; 8]]).expect("too long for a step");
    assert_eq!((bad.step, bad.why), (Some(1), Why::Length(0)));
}

#[test]
fn regions_lie_in_the_scratch_memory() {
    let region = |region| why(&Draft::new(&[region], &[], &[]).bytes());
    for range in [LOW_SCRATCH, HIGH_SCRATCH] {
        let size = (range.end - range.start) as u32;
        assert_eq!(region((range.start, size, 4, 0)), None);
        assert_eq!(region((range.start - 1, 1, 1, 0)), Some(Why::RegionTarget(0)));
        assert_eq!(region((range.end - 1, 2, 1, 0)), Some(Why::RegionTarget(0)));
        assert_eq!(region((range.start, size + 1, 0, 0)), Some(Why::RegionTarget(0)));
    }
    assert_eq!(region((u64::MAX, 2, 0, 0)), Some(Why::RegionTarget(0)));
    assert_eq!(region((HIGH_SCRATCH.start, 2, 3, 0)), Some(Why::RegionSource(0)));
    assert_eq!(region((HIGH_SCRATCH.start, 99, 81, 0)), Some(Why::RegionSource(0)));
    assert_eq!(
        region((HIGH_SCRATCH.start, 99, 1, u32::MAX)),
        Some(Why::RegionSource(0))
    );
    let good = (HIGH_SCRATCH.start, 4, 4, 0);
    let bytes = Draft::new(&[good, (0, 0, 0, 0)], &[], &[]).bytes();
    assert_eq!(why(&bytes), Some(Why::RegionTarget(1)));
}

#[test]
fn watches_are_aligned_and_bounded() {
    let watches = |watches: &[(u64, u32)]| why(&Draft::new(&[], watches, &[]).bytes());
    assert_eq!(watches(&[(0, MAX_WATCHED)]), None);
    assert_eq!(
        watches(&[(0, MAX_WATCHED), (8, 8)]),
        Some(Why::Watched(MAX_WATCHED + 8))
    );
    assert_eq!(watches(&[(RAM_SIZE - 8, 8)]), None);
    for bad in [(4, 8), (8, 4), (RAM_SIZE, 8), (u64::MAX - 7, 8)] {
        assert_eq!(watches(&[(0, 8), bad]), Some(Why::Watch(1)));
    }
}

#[test]
fn steps_are_checked() {
    assert_eq!(step_why(step(8, 0, 0, &[], CODE)), Some(Why::Mode(8)));
    for mode in Mode::ALL {
        for cpl in 0..5 {
            let can = match mode {
                Mode::Real => cpl == 0,
                Mode::Virtual8086 => cpl == 3,
                _ => cpl < 4,
            };
            let expected = (!can).then_some(Why::Cpl(cpl));
            assert_eq!(
                step_why(step(mode as u8, cpl, 0, &[], CODE)),
                expected,
                "{mode:?} {cpl}"
            );
        }
    }
    assert_eq!(step_why(step(0, 0, 0, &[], &[])), Some(Why::CodeLength(0)));
    assert_eq!(step_why(step(0, 0, 0, &[], &[0x90; 2048])), None);
    assert_eq!(step_why(step(0, 0, 0, &[], &[0x90; 2049])), Some(Why::CodeLength(2049)));
    assert_eq!(step_why(step(0, 0, 1 << 21, &[], CODE)), Some(Why::Unknown(1 << 21)));
    assert_eq!(step_why(step(0, 0, 1 << 3, &[0; 8], CODE)), None);
    assert_eq!(step_why(step(0, 0, 3 << 3, &[0; 8], CODE)), Some(Why::Length(32)));
    assert_eq!(step_why(step(0, 0, 1 << 19, &[0; 16], CODE)), Some(Why::Length(40)));
    assert_eq!(step_why(step(0, 0, 1 << 16, &[0; 256], CODE)), None);
    let mut reserved = step(0, 0, 0, &[], CODE);
    reserved[12] = 1;
    assert_eq!(step_why(reserved), Some(Why::Unknown(1)));
}

#[test]
fn reasons_name_the_place() {
    let bad = Bad {
        program: Some(3),
        step: Some(2),
        why: Why::Cpl(7),
    };
    assert_eq!(bad.to_string(), "program 3: step 2: the mode has no CPL 7");
    assert_eq!(Bad::from(Why::Magic).to_string(), "it does not begin with SVMP");
}

/// Whatever is changed, parsing neither panics nor lets through what cannot be read again.
#[test]
fn no_input_is_too_odd() {
    let registers = [0xff; 24];
    let steps = [
        step(0, 3, 7, &registers, CODE),
        step(6, 3, 1 << 16, &[0x55; 256], &[0x90; 33]),
    ];
    let whole = Draft::new(&[(HIGH_SCRATCH.start, 64, 40, 0)], &[(0x1000, 64)], &steps).bytes();
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let mut accepted = 0;
    for _ in 0..50_000 {
        let mut bytes = whole.clone();
        for _ in 0..=random(3) {
            let at = random(bytes.len());
            bytes[at] = [0, 1, 0x7f, 0x80, 0xff, random(256) as u8][random(6)];
        }
        bytes.truncate(bytes.len() - random(2) * random(bytes.len()));
        let Ok(batch) = Batch::parse(&bytes) else { continue };
        accepted += 1;
        assert!(batch.shared().all(|region| region.is_ok()));
        for program in batch.programs().map(|program| program.expect("checked")) {
            assert!(
                program
                    .regions()
                    .all(|region| region.is_ok_and(|region| region.bytes.len() <= region.size as usize))
            );
            assert!(program.watches().all(|watch| watch.is_ok()));
            for step in program.steps() {
                let _ = step.expect("checked").registers(0);
            }
        }
    }
    assert!(
        accepted > 500,
        "only {accepted} of the inputs were let through: nothing was tried"
    );
}
