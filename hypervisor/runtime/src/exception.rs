//! Exceptions: fixups first, then whoever took over, and else a record and the end.

use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use x86_64::registers::control::Cr2;

use crate::descriptors::NestedStack;
use crate::{Outcome, Record, boot, fixup, timer};

const NMI: u64 = 2;

/// The interrupted code's registers, as `exceptions.asm` pushes them. A handler may change them before it returns.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
#[allow(missing_docs)]
pub struct Frame {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rbp: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rdx: u64,
    pub rcx: u64,
    pub rbx: u64,
    pub rax: u64,
    pub vector: u64,
    /// 0 when the vector has none.
    pub error: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

/// What [`take_over`] installs: returns whether it dealt with the exception; then the frame is loaded and the
/// interrupted code (or whatever the frame now names) goes on. It may use [`crate::msr`]: those fixups come first.
pub type Handler = fn(&mut Frame) -> bool;

static HANDLER: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());
static NMIS: AtomicU32 = AtomicU32::new(0);

/// From now on `handler` sees every exception, NMI and interrupt that has no fixup, before anybody else.
pub fn take_over(handler: Handler) {
    HANDLER.store(handler as *mut (), Ordering::Relaxed);
}

/// How many NMIs the host took.
pub fn nmis() -> u32 {
    NMIS.load(Ordering::Relaxed)
}

/// Called by `exceptions.asm`.
#[unsafe(no_mangle)]
extern "sysv64" fn exception_entry(frame: &mut Frame) {
    if frame.vector == NMI && HANDLER.load(Ordering::Relaxed).is_null() {
        // Nobody asked for it and nothing is lost: the machine's owner pressed a button. Count it.
        NMIS.fetch_add(1, Ordering::Relaxed);
        return;
    }
    if timer::interrupted(frame.vector) {
        return;
    }
    let _nested = NestedStack::enter();
    if fixup::apply(frame) {
        return;
    }
    let handler = HANDLER.load(Ordering::Relaxed);
    if !handler.is_null() {
        // SAFETY: only `take_over` stores here, and it stores a `Handler`.
        let handler: Handler = unsafe { core::mem::transmute(handler) };
        if handler(frame) {
            return;
        }
    }
    report(frame);
    boot::exit(Outcome::Exception)
}

fn report(frame: &Frame) {
    crate::log!(
        "exception {} (error {:#x}) at {:#x}",
        frame.vector,
        frame.error,
        frame.rip
    );
    Record::new("exception")
        .hex("vector", frame.vector)
        .hex("error", frame.error)
        .hex("rip", frame.rip)
        .hex("cs", frame.cs)
        .hex("rsp", frame.rsp)
        .hex("rflags", frame.rflags)
        .hex("cr2", Cr2::read_raw())
        .hex("rax", frame.rax)
        .hex("rbx", frame.rbx)
        .hex("rcx", frame.rcx)
        .hex("rdx", frame.rdx)
        .hex("rsi", frame.rsi)
        .hex("rdi", frame.rdi)
        .hex("rbp", frame.rbp)
        .hex("r8", frame.r8)
        .hex("r9", frame.r9)
        .hex("r10", frame.r10)
        .hex("r11", frame.r11)
        .hex("r12", frame.r12)
        .hex("r13", frame.r13)
        .hex("r14", frame.r14)
        .hex("r15", frame.r15)
        .emit();
}
