//! A Rust panic: a record, then the end.

use core::fmt::Write;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::record::Line;
use crate::{Outcome, Record, boot};

static PANICKING: AtomicBool = AtomicBool::new(false);

#[panic_handler]
fn panic(info: &PanicInfo) -> ! {
    // A panic in this handler must not come back here for ever.
    if !PANICKING.swap(true, Ordering::Relaxed) {
        let mut at = Line::<128>::new();
        if let Some(location) = info.location() {
            let _ = write!(at, "{}:{}", location.file(), location.line());
        }
        crate::log!("panic: {}", info.message());
        Record::new("panic")
            .format("message", format_args!("{}", info.message()))
            .text("at", at.bytes())
            .emit();
    }
    boot::exit(Outcome::Panic)
}
