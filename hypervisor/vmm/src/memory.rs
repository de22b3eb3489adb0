//! The memory of a machine, from physical address 0.

use std::io;
use std::ptr::NonNull;

pub struct Memory {
    start: NonNull<u8>,
    size: u64,
}

impl Memory {
    /// All zero.
    pub fn new(size: u64) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new mapping at a place that the kernel chooses takes nothing from anybody.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), size as usize, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("memory at address 0"))?;
        Ok(Self { start, size })
    }

    /// Where it is in our address space.
    pub fn address(&self) -> u64 {
        self.start.as_ptr() as u64
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Up to `length` bytes: fewer where memory ends.
    pub fn read(&self, address: u64, length: usize) -> Vec<u8> {
        let length = length.min(self.size.saturating_sub(address) as usize);
        let mut bytes = vec![0; length];
        if length > 0 {
            // SAFETY: the range is inside the mapping. The machine stands still while we run: there is one thread.
            unsafe { std::ptr::copy_nonoverlapping(self.at(address), bytes.as_mut_ptr(), length) };
        }
        bytes
    }

    /// Writes all of it, or nothing and says false where memory ends.
    pub fn write(&mut self, address: u64, bytes: &[u8]) -> bool {
        let end = address.checked_add(bytes.len() as u64);
        if end.is_none_or(|end| end > self.size) {
            return false;
        }
        // SAFETY: as in `read`.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.at(address), bytes.len()) };
        true
    }

    fn at(&self, address: u64) -> *mut u8 {
        // SAFETY: callers have made sure that the address is inside the mapping.
        unsafe { self.start.as_ptr().add(address as usize) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and its machine is gone (see `Machine`).
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.size as usize) };
    }
}
