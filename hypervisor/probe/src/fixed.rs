//! Memory with an address of its own, that asm/ or the processor uses besides Rust.

use core::cell::UnsafeCell;

/// A static of which only pointers are handed out. Page-aligned, so that a page of code or a stack has no neighbours.
#[repr(C, align(4096))]
pub struct Fixed<T>(UnsafeCell<T>);

// SAFETY: there is one processor, and interrupts are off whenever Rust runs; whoever uses the pointer says why nobody
// else does at that time.
unsafe impl<T> Sync for Fixed<T> {}

impl<T> Fixed<T> {
    pub const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    pub const fn get(&self) -> *mut T {
        self.0.get()
    }

    /// The address behind it: where a stack begins.
    pub fn end(&self) -> u64 {
        self.get() as u64 + size_of::<T>() as u64
    }
}
