//! Hypercalls: VMMCALL at CPL 0. docs/protocol.md, "Guests".

use runtime::Record;
use svm::addr::{GuestPhys, PAGE_SIZE};
use svm::pending::Event;

use super::{End, Next};
use crate::clock;
use crate::defect;
use crate::guest::{Guest, State};
use crate::vcpu::Vcpu;

const PRINT: u32 = 1;
const RECORD: u32 = 2;
const EXIT: u32 = 3;
const NOTHING: u32 = 4;
const INTERRUPT: u32 = 5;
const NMI: u32 = 6;
const ALARM: u32 = 7;
const YIELD: u32 = 8;
const GIVE_BACK: u32 = 9;

/// What stands for an NMI where a vector is asked for, and the first vector that is no exception's.
const NMI_VECTOR: u64 = 2;
const FIRST_INTERRUPT: u64 = 32;

const DONE: u64 = 0;
const DENIED: u64 = u64::MAX;

/// As much as a record holds when every byte is escaped would be less; a longer text is cut, not refused.
const LONGEST_TEXT: usize = 900;

/// Does what the guest asks for, and retires the instruction.
pub fn handle(guest: &mut Guest) -> Next {
    if let Some(result) = own(guest) {
        guest.set_rax(result);
        return guest.retire();
    }
    let Guest { vcpu, memory, .. } = guest;
    match serve(vcpu, |address, bytes| memory.read(address, bytes)) {
        Some(next) => next,
        None => guest.retire(),
    }
}

/// The hypercalls that only a guest without a machine has: no device interrupts it, and its memory is the hypervisor's to
/// give. `None`: another.
fn own(guest: &mut Guest) -> Option<u64> {
    let (rbx, rcx) = (guest.registers.rbx, guest.registers.rcx);
    let call = guest.rax() as u32;
    if !(INTERRUPT..=GIVE_BACK).contains(&call) {
        return None;
    }
    if guest.cpl() != 0 {
        return Some(DENIED);
    }
    match call {
        NMI => guest.pending.ask(Event::Nmi),
        YIELD => guest.state = State::Yields,
        GIVE_BACK if rbx % PAGE_SIZE == 0 && guest.give_back(GuestPhys(rbx)) => {}
        GIVE_BACK => return Some(DENIED),
        ALARM if rcx == 0 => guest.alarm = None,
        _ => {
            let event = match rbx {
                NMI_VECTOR if call == ALARM => Event::Nmi,
                FIRST_INTERRUPT..=0xFF => Event::Interrupt(rbx as u8),
                _ => return Some(DENIED),
            };
            if call == ALARM {
                guest.alarm = Some((clock::after(rcx), event));
            } else {
                guest.pending.ask(event);
            }
        }
    }
    Some(DONE)
}

/// Does what the guest asks for. `read` gives its memory. `None`: the guest goes on behind the instruction.
#[inline(always)]
pub fn serve(vcpu: &mut Vcpu, read: impl FnOnce(GuestPhys, &mut [u8]) -> Option<()>) -> Option<Next> {
    let (rbx, rcx) = (vcpu.registers.rbx, vcpu.registers.rcx);
    let result = match vcpu.rax() as u32 {
        _ if vcpu.cpl() != 0 && !defect::USER_HYPERCALLS.is_on() => DENIED,
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
