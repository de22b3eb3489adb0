use super::*;

fn job() -> Vec<u8> {
    let mut frame = vec![b'J'];
    for number in [64u32, 0b101, 2500, 4096] {
        frame.extend_from_slice(&number.to_le_bytes());
    }
    for number in [0x10_0040u64, 0x2BAD_B002, 0x9000] {
        frame.extend_from_slice(&number.to_le_bytes());
    }
    frame.extend_from_slice(&1u16.to_le_bytes());
    frame.extend_from_slice(&0x8000_0001u32.to_le_bytes());
    frame.push(2);
    frame.extend_from_slice(&(!4u32).to_le_bytes());
    frame.extend_from_slice(&0u32.to_le_bytes());
    frame.extend_from_slice(&1u16.to_le_bytes());
    frame.extend_from_slice(&0xC001_0114u32.to_le_bytes());
    frame.extend_from_slice(&0x18u64.to_le_bytes());
    frame.extend_from_slice(&0u16.to_le_bytes());
    frame.extend_from_slice(&1u16.to_le_bytes());
    frame.extend_from_slice(&0x10_0000u64.to_le_bytes());
    frame.extend_from_slice(&3u32.to_le_bytes());
    frame.extend_from_slice(b"abc");
    frame
}

#[test]
fn a_job_is_understood() {
    let Ok(Request::Run(job)) = Request::decode(&job()) else {
        panic!("no job")
    };
    assert_eq!(job.memory, 64 << 20);
    assert!(job.debug && !job.serial && job.trace);
    assert_eq!((job.milliseconds, job.console), (2500, 4096));
    assert_eq!((job.rip, job.rax, job.rbx), (0x10_0040, 0x2BAD_B002, 0x9000));
    assert_eq!(
        job.cpuid,
        [CpuidChange {
            leaf: 0x8000_0001,
            register: 2,
            keep: !4,
            set: 0
        }]
    );
    assert_eq!(
        job.msrs,
        [MsrPreset {
            index: 0xC001_0114,
            value: 0x18
        }]
    );
    assert!(job.wanted.is_empty());
    assert_eq!(
        job.regions,
        [Region {
            address: 0x10_0000,
            bytes: b"abc".to_vec()
        }]
    );
}

#[test]
fn a_job_that_is_cut_short_is_refused_wherever_it_is_cut() {
    let whole = job();
    for length in 0..whole.len() {
        assert!(Request::decode(&whole[..length]).is_err(), "{length} bytes");
    }
}

#[test]
fn other_requests_are_understood() {
    let read = [b"R".as_slice(), &0x1000u64.to_le_bytes(), &16u32.to_le_bytes()].concat();
    assert_eq!(
        Request::decode(&read),
        Ok(Request::Read {
            address: 0x1000,
            length: 16
        })
    );
    assert_eq!(Request::decode(b"C"), Ok(Request::Close));
    let program = [
        b"X".as_slice(),
        &1000u32.to_le_bytes(),
        &1u16.to_le_bytes(),
        &4u32.to_le_bytes(),
        b"true",
        &1u16.to_le_bytes(),
        &2u32.to_le_bytes(),
        b"/a",
        &1u32.to_le_bytes(),
        b"x",
    ]
    .concat();
    let expected = Program {
        milliseconds: 1000,
        words: vec!["true".into()],
        files: vec![("/a".into(), b"x".to_vec())],
    };
    assert_eq!(Request::decode(&program), Ok(Request::Execute(expected)));
    assert!(Request::decode(b"?").is_err());
    assert!(Request::decode(b"").is_err());
}

#[test]
fn a_frame_says_how_long_it_is() {
    assert_eq!(Reply::Memory(b"xyz".to_vec()).encode(), b"\x04\0\0\0Mxyz");
    assert_eq!(
        Reply::Wanted(0x1000, b"xyz".to_vec()).encode(),
        b"\x0c\0\0\0W\0\x10\0\0\0\0\0\0xyz"
    );
    let end = End {
        rips: vec![0x1234],
        text: "why".into(),
        ..End::of(How::TimedOut)
    };
    let frame = Reply::Ended {
        end,
        exits: 7,
        microseconds: 9,
    }
    .encode();
    assert_eq!(frame.len(), 4 + 1 + 4 + 16 + 8 + 3);
    assert_eq!(&frame[..9], b"\x20\0\0\0Z\x03\0\x01\0");
    assert!(frame.ends_with(b"why"));
}
