//! Hypercalls: VMMCALL at CPL 0. docs/protocol.md, "Guests".

use runtime::Record;
use svm::addr::GuestPhys;

use super::{End, Next};
use crate::defect;
use crate::guest::Guest;
use crate::vcpu::Vcpu;

const PRINT: u32 = 1;
const RECORD: u32 = 2;
const EXIT: u32 = 3;
const NOTHING: u32 = 4;

const DONE: u64 = 0;
const DENIED: u64 = u64::MAX;

/// As much as a record holds when every byte is escaped would be less; a longer text is cut, not refused.
const LONGEST_TEXT: usize = 900;

/// Does what the guest asks for, and retires the instruction.
pub fn handle(guest: &mut Guest) -> Next {
    let Guest { vcpu, memory, .. } = guest;
    match serve(vcpu, |address, bytes| memory.read(address, bytes)) {
        Some(next) => next,
        None => guest.retire(),
    }
}

/// Does what the guest asks for. `read` gives its memory. `None`: the guest goes on behind the instruction.
#[inline(always)]
pub fn serve(vcpu: &mut Vcpu, read: impl FnOnce(GuestPhys, &mut [u8]) -> Option<()>) -> Option<Next> {
    let (rbx, rcx) = (vcpu.registers.rbx, vcpu.registers.rcx);
    let result = match vcpu.rax() as u32 {
        _ if vcpu.cpl() != 0 && !defect::USER_HYPERCALLS => DENIED,
        PRINT => print(read, GuestPhys(rbx), rcx),
        RECORD => note(rbx, rcx),
        EXIT => return Some(Next::End(End::Exit(rbx))),
        NOTHING => DONE,
        _ => DENIED,
    };
    vcpu.set_rax(result);
    None
}

#[cold]
fn print(read: impl FnOnce(GuestPhys, &mut [u8]) -> Option<()>, text: GuestPhys, length: u64) -> u64 {
    let mut buffer = [0; LONGEST_TEXT];
    let length = usize::try_from(length).unwrap_or(usize::MAX).min(LONGEST_TEXT);
    let buffer = &mut buffer[..length];
    match read(text, buffer) {
        Some(()) => {
            Record::new("guest.print").text("text", buffer).emit();
            DONE
        }
        None => DENIED,
    }
}

#[cold]
fn note(tag: u64, value: u64) -> u64 {
    let bytes = tag.to_le_bytes();
    let length = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    Record::new("guest.note")
        .text("tag", &bytes[..length])
        .hex("value", value)
        .emit();
    DONE
}
