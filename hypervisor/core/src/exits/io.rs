//! IN and OUT: the guest has a serial port that only prints, and otherwise an empty bus.

use runtime::Record;
use runtime::record::Line;
use svm::exit::IoExitInfo;

use super::Next;
use crate::guest::Guest;

const COM1_DATA: u16 = 0x3F8;
const COM1_LINE_STATUS: u16 = 0x3FD;
/// Transmitter empty, holding register empty.
const READY: u64 = 0x60;
const FLOATING_BUS: u64 = u64::MAX;

/// What the guest wrote to COM1 since the last newline.
#[derive(Default)]
pub struct Serial(Line<512>);

impl Serial {
    fn put(&mut self, byte: u8) {
        match byte {
            b'\n' => self.flush(),
            b'\r' => {}
            _ => {
                if self.0.room() == 0 {
                    self.flush();
                }
                self.0.push_all(&[byte]);
            }
        }
    }

    /// Emits what is there, also without a newline.
    pub fn flush(&mut self) {
        if !self.0.bytes().is_empty() {
            Record::new("guest.print").text("text", self.0.bytes()).emit();
            self.0.clear();
        }
    }
}

/// Answers IN, takes OUT. INS and OUTS are not handled.
pub fn handle(guest: &mut Guest) -> Next {
    let info = IoExitInfo(guest.vmcb.control.exit_info_1);
    let (false, Some(size)) = (info.is_string(), info.size()) else {
        return Next::Unhandled;
    };
    if info.is_in() {
        let value = if info.port() == COM1_LINE_STATUS {
            READY
        } else {
            FLOATING_BUS
        };
        const RAX: u8 = 0;
        guest.write_register(RAX, value, size);
    } else if info.port() == COM1_DATA {
        guest.serial.put(guest.rax() as u8);
    }
    // EXITINFO2 is the next RIP, on every processor (15.10.2).
    let next = guest.vmcb.control.exit_info_2;
    guest.retire_to(next)
}
