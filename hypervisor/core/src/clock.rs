//! The clock as guests know it: it ticks while somebody waits for a tick.

use runtime::timer::{TICK, ticks};

/// The tick that is at least so many milliseconds from now. The one under way does not count.
pub fn after(milliseconds: u64) -> u64 {
    (ticks() + 1).saturating_add(milliseconds.div_ceil(TICK))
}
