//! Writing memory only where it is other than it shall be.
//!
//! Emulators drop what they translated when code is overwritten, even by the same code; translating again takes longer
//! than all else that a program does.

use crate::bytes::u64_at;

/// How much is compared, and written, at a time.
const STRIDE: usize = 128;

/// Makes `memory` hold `bytes`, then zeros. `bytes` is not longer.
pub fn settle(memory: &mut [u8], bytes: &[u8]) {
    let (filled, cleared) = memory.split_at_mut(bytes.len());
    for (memory, bytes) in filled.chunks_mut(STRIDE).zip(bytes.chunks(STRIDE)) {
        if differ(memory, bytes) {
            memory.copy_from_slice(bytes);
        }
    }
    for memory in cleared.chunks_mut(STRIDE) {
        if differ(memory, &[0; STRIDE][..memory.len()]) {
            memory.fill(0);
        }
    }
}

/// Of two slices of the same length. Not `!=`, which goes byte by byte here: asm/mem.asm.
fn differ(one: &[u8], other: &[u8]) -> bool {
    let (ones, others) = (one.chunks_exact(8), other.chunks_exact(8));
    let rest = ones.remainder().iter().zip(others.remainder());
    let rest = rest.fold(0, |differs, (one, other)| differs | one ^ other);
    ones.zip(others).fold(u64::from(rest), |differs, (one, other)| {
        differs | u64_at(one, 0) ^ u64_at(other, 0)
    }) != 0
}
