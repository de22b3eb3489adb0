use crate::{Full, REGISTERS, Recorder, StepHead};

const REGISTER_VALUES: [u64; REGISTERS] = [0x1111; REGISTERS];

/// Memory for results; the recorder keeps a pointer to it.
struct Memory(Vec<u64>);

impl Memory {
    fn new(quadwords: usize) -> Self {
        Self(vec![u64::MAX; quadwords])
    }

    fn recorder(&mut self) -> Result<Recorder, Full> {
        // SAFETY: the tests keep the memory longer than the recorder, and look at it only between calls.
        unsafe { Recorder::new(self.0.as_mut_ptr().cast(), self.0.len() * 8) }
    }

    fn words(&self, from: usize, count: usize) -> Vec<u32> {
        let bytes: Vec<u8> = self.0.iter().flat_map(|quad| quad.to_le_bytes()).collect();
        let words = bytes
            .chunks_exact(4)
            .map(|word| u32::from_le_bytes(word.try_into().expect("four")));
        words.skip(from).take(count).collect()
    }
}

const MAGIC: u32 = u32::from_le_bytes(*b"SVMR");

#[test]
fn the_header_tells_how_far_it_is() {
    let mut memory = Memory::new(64);
    let mut recorder = memory.recorder().expect("room");
    assert_eq!(memory.words(0, 10), [MAGIC, 2, 0, 0, 0, 40, 0, 0, 0, 0]);
    recorder.begin_program(5, 0xabc).expect("room");
    assert_eq!(memory.words(0, 7), [MAGIC, 2, 0, 6, 0, 56, 0]);
    assert_eq!(memory.words(10, 4), [5, 0xabc, 0, 16]);
    recorder.begin_step();
    assert_eq!(memory.words(2, 4), [0, 6, 1, 56]);
    let head = StepHead {
        vector: 6,
        registers: 0x8001,
        ..StepHead::default()
    };
    recorder.end_step(head, &REGISTER_VALUES).expect("room");
    recorder.time(9).expect("room");
    assert_eq!(memory.words(2, 4), [0, 6, 1, 56], "not before the step is closed");
    recorder.close_step();
    assert_eq!(memory.words(2, 4), [0, 6, 1, 56 + 72]);
    assert_eq!(memory.words(10, 4), [5, 0xabc, 1, 16 + 72]);
    assert_eq!(memory.words(14, 6), [72, 6, 0, 0x0004_8001, 0, 0]);
    recorder.close_program();
    recorder.finish();
    assert_eq!(memory.words(2, 5), [1, 0, 0, 128, 0]);
}

#[test]
fn what_does_not_fit_is_taken_back_whole() {
    // The header, and one program with one step without anything.
    let mut memory = Memory::new((40 + 16 + 48 + 16 + 40) / 8);
    let mut recorder = memory.recorder().expect("room");
    for _ in 0..2 {
        let began = recorder.begin_program(0, 0);
        recorder.begin_step();
        let ended = began.and_then(|()| recorder.end_step(StepHead::default(), &REGISTER_VALUES));
        match ended {
            Ok(()) => {
                recorder.close_step();
                recorder.close_program();
            }
            Err(Full) => recorder.take_back(),
        }
    }
    assert_eq!(memory.words(0, 7), [MAGIC, 2, 1, 1, 0, 40 + 16 + 48, 1]);
}

#[test]
fn changes_are_counted_and_bounded() {
    let mut memory = Memory::new((40 + 16 + 48 + 16) / 8);
    let mut recorder = memory.recorder().expect("room");
    recorder.begin_program(0, 0).expect("room");
    recorder.begin_step();
    recorder.end_step(StepHead::default(), &REGISTER_VALUES).expect("room");
    recorder.change(1, 8, 3).expect("room");
    assert_eq!(recorder.change(1, 16, 3), Err(Full));
    recorder.take_back();
    assert_eq!(memory.words(2, 5), [0, 1, 0, 40, 1]);
    assert!(Memory::new(4).recorder().is_err());
}
