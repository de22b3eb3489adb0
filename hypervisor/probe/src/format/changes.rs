//! Which quadwords of watched memory are other than they were.

/// How many are compared at a time: nearly always nothing has changed, and emulators run long stretches without a
/// branch fastest.
const STRIDE: usize = 16;

/// Calls `found` with index and value of each quadword of `memory` that differs from `shadow`, in order, and brings the
/// shadow up to date. They have the same length.
///
/// # Errors
/// What `found` returns.
pub fn changes<E>(
    memory: &[u64],
    shadow: &mut [u64],
    mut found: impl FnMut(usize, u64) -> Result<(), E>,
) -> Result<(), E> {
    let strides = memory.chunks(STRIDE).zip(shadow.chunks_mut(STRIDE));
    for (n, (memory, shadow)) in strides.enumerate() {
        let pairs = memory.iter().zip(shadow.iter());
        if pairs.fold(0, |differs, (new, old)| differs | new ^ old) == 0 {
            continue;
        }
        for (index, (&new, old)) in memory.iter().zip(shadow).enumerate() {
            if new != *old {
                *old = new;
                found(n * STRIDE + index, new)?;
            }
        }
    }
    Ok(())
}
