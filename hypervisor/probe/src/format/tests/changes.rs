use crate::changes;

fn all(memory: &[u64], shadow: &mut [u64]) -> Vec<(usize, u64)> {
    let mut found = Vec::new();
    let done: Result<(), ()> = changes(memory, shadow, |index, value| {
        found.push((index, value));
        Ok(())
    });
    assert_eq!(done, Ok(()));
    found
}

#[test]
fn every_change_is_found_once_and_in_order() {
    for length in [0, 1, 15, 16, 17, 512] {
        let old: Vec<u64> = (0..length).collect();
        for step in [1, 2, 7, 16, 100] {
            let mut memory = old.clone();
            let expected: Vec<_> = (0..old.len()).step_by(step).map(|index| (index, !old[index])).collect();
            expected.iter().for_each(|&(index, value)| memory[index] = value);
            let mut shadow = old.clone();
            assert_eq!(all(&memory, &mut shadow), expected);
            assert_eq!(shadow, memory);
            assert_eq!(all(&memory, &mut shadow), []);
        }
    }
}

#[test]
fn an_error_ends_it() {
    let mut calls = 0;
    let done = changes(&[1; 40], &mut [0; 40], |index, _| {
        calls += 1;
        if index == 20 { Err(index) } else { Ok(()) }
    });
    assert_eq!((done, calls), (Err(20), 21));
}
