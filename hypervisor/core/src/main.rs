//! The hypervisor.
#![no_std]
#![no_main]

use runtime::{Boot, Outcome, Record, exit, log};

#[unsafe(no_mangle)]
fn image_main(boot: &Boot) -> ! {
    let cmdline = boot.cmdline(&["guest=", "count=", "npt="]).unwrap_or("?");
    Record::new("boot")
        .word("protocol", boot.protocol.name())
        .text("cmdline", cmdline.as_bytes())
        .emit();
    log!(
        "rdmsr {:?} {:?}",
        runtime::msr::try_rdmsr(0xC000_0080),
        runtime::msr::try_rdmsr(0x1234_5678)
    );
    exit(Outcome::GuestFinished)
}
