//! One batch and its results as bytes, which the harness' tests read, too: docs/protocol.md says what they are.

use crate::*;

fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

const PROGRAM: &str = include_str!("../../../testdata/program-v2.hex");
const RESULTS: &str = include_str!("../../../testdata/results-v2.hex");

#[test]
fn the_batch_is_read() {
    let bytes = from_hex(PROGRAM);
    let batch = Batch::parse(&bytes).expect("well-formed");
    assert_eq!(batch.results_limit, 0x1_0000);
    let shared: Vec<_> = batch.shared().flatten().collect();
    assert_eq!(
        (shared.len(), shared[0].address, shared[0].bytes),
        (1, 0x1_0000, &[0x0f, 1, 0xd9][..])
    );
    let programs: Vec<_> = batch.programs().flatten().collect();
    let [one, two] = programs[..] else {
        panic!("two programs")
    };
    assert_eq!((one.index, one.tag, one.reset), (0, 7, true));
    let regions: Vec<_> = one.regions().flatten().collect();
    let filled = Region {
        address: 0x0100_0000,
        size: 0x1000,
        bytes: b"abc",
    };
    assert_eq!(regions, [filled]);
    let watches: Vec<_> = one
        .watches()
        .flatten()
        .map(|watch| (watch.address, watch.size))
        .collect();
    assert_eq!(watches, [(0x0100_0000, 0x1000), (0x1_0000, 8)]);
    let steps: Vec<_> = one.steps().flatten().collect();
    let (first, second) = (&steps[0], &steps[1]);
    assert_eq!(
        (first.mode, first.cpl, first.code),
        (Mode::Long, 0, &[0x0f, 1, 0xd8][..])
    );
    assert_eq!(
        (first.look(), first.state(), first.time(), first.rflags),
        (true, true, true, Some(0x202))
    );
    let registers = first.registers(0x5000);
    assert_eq!(
        (registers[0], registers[RSP], registers[15]),
        (0x0100_0000, 0x5000, 0xfedc_ba98_7654_3210)
    );
    assert_eq!(registers.iter().filter(|&&value| value != 0).count(), 3);
    assert_eq!(
        (second.mode, second.cpl, second.code),
        (Mode::Real, 0, &[0x0f, 0x0b][..])
    );
    assert_eq!(second.xmm.map(|xmm| (xmm.len(), xmm[255])), Some((256, 255)));
    assert!(!second.look() && !second.state() && !second.time() && second.rflags.is_none());
    assert_eq!((two.index, two.tag, two.reset), (1, 0x8000_0001, false));
    assert_eq!((two.regions().count(), two.watches().count()), (0, 0));
    let steps: Vec<_> = two.steps().flatten().collect();
    assert_eq!(
        (steps.len(), steps[0].mode, steps[0].cpl),
        (1, Mode::Compatibility32, 3)
    );
    assert_eq!(steps[0].registers(0)[RSP], 0x0180_1000);
}

#[test]
fn the_results_are_written() {
    let expected = from_hex(RESULTS);
    let mut memory = vec![0u64; expected.len() / 8];
    record(memory.as_mut_ptr().cast(), expected.len()).expect("as much room as that takes");
    let written: Vec<u8> = memory.iter().flat_map(|quad| quad.to_le_bytes()).collect();
    assert!(written == expected, "{}", to_hex(&written));
}

/// What the batch above might leave, with the third step under way.
fn record(at: *mut u8, limit: usize) -> Result<(), Full> {
    let mut registers = [0; REGISTERS];
    registers[0] = 0x0100_0000;
    // SAFETY: the caller's memory is that large and outlives the recorder.
    let mut recorder = unsafe { Recorder::new(at, limit) }?;
    recorder.begin_program(0, 7)?;
    recorder.begin_step();
    let head = StepHead {
        vector: NO_FAULT,
        rip: 3,
        rflags: 2,
        ..StepHead::default()
    };
    recorder.end_step(head, &registers)?;
    recorder.state(0x1d00, 0x0180_0000)?;
    recorder.time(4321)?;
    recorder.change(0, 0x70, 0x81)?;
    recorder.change(1, 0, 0x1122_3344_5566_7788)?;
    recorder.close_step();
    recorder.begin_step();
    (registers[RSP], registers[15]) = (0x7ffe, 0x0f0f);
    let head = StepHead {
        vector: 13,
        error: 0x10,
        registers: 1 << RSP | 1 << 15,
        rip: 0x7ff,
        rflags: 0x1_0202,
        cr2: 0xdead_f000,
        ..head
    };
    recorder.end_step(head, &registers)?;
    recorder.xmm(core::array::from_fn(|n| n as u64 * 0x0101))?;
    recorder.close_step();
    recorder.close_program();
    recorder.begin_program(1, 0x8000_0001)?;
    recorder.begin_step();
    Ok(())
}

fn to_hex(bytes: &[u8]) -> String {
    let lines = bytes
        .chunks(16)
        .map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    lines.collect::<Vec<_>>().join("\n")
}
