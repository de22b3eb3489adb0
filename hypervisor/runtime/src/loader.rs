//! What the three loaders hand over; we want the command line and nothing else.
//!
//! Multiboot 1 specification 3.3 "Boot information format", Multiboot 2 specification 3.6, and the PVH start info
//! structure of the x86/HVM direct boot ABI.

use crate::boot::Protocol;

const MULTIBOOT1_LOADED: u32 = 0x2BAD_B002;
const MULTIBOOT2_LOADED: u32 = 0x36D7_6289;
const PVH_START_INFO: u32 = 0x336E_C578;

/// A command line as the loader left it; `has_image_path` says that it starts with the image's path.
pub(crate) struct Loaded {
    pub protocol: Protocol,
    pub cmdline: &'static [u8],
    pub has_image_path: bool,
}

/// Reads the loader's information at `information`.
///
/// # Safety
/// `magic` and `information` must be what the loader left in EAX and EBX, and its memory must still be as it was.
pub(crate) unsafe fn read(magic: u32, information: u32) -> Option<Loaded> {
    let base = u64::from(information);
    // SAFETY: the magic says which structure is at `information`; the caller answers for both.
    unsafe {
        match magic {
            MULTIBOOT1_LOADED => Some(multiboot1(base)),
            MULTIBOOT2_LOADED => Some(multiboot2(base)),
            // PVH leaves EAX undefined and marks its structure instead.
            _ if field(base, 0) == PVH_START_INFO => Some(pvh(base)),
            _ => None,
        }
    }
}

/// # Safety
/// `base` must point to a multiboot 1 information structure.
unsafe fn multiboot1(base: u64) -> Loaded {
    const FLAGS: u64 = 0;
    const CMDLINE: u64 = 16;
    const LOADER_NAME: u64 = 64;
    const HAS_CMDLINE: u32 = 1 << 2;
    const HAS_LOADER_NAME: u32 = 1 << 9;
    // SAFETY: the offsets are the structure's, and each string is read only when its flag says that it is there.
    unsafe {
        let flags = field(base, FLAGS);
        let text = |flag, offset| {
            if flags & flag != 0 {
                string(field(base, offset).into())
            } else {
                b"".as_slice()
            }
        };
        Loaded {
            protocol: Protocol::Multiboot1,
            cmdline: text(HAS_CMDLINE, CMDLINE),
            has_image_path: text(HAS_LOADER_NAME, LOADER_NAME).starts_with(b"qemu"),
        }
    }
}

/// # Safety
/// `base` must point to a multiboot 2 information structure.
unsafe fn multiboot2(base: u64) -> Loaded {
    const FIRST_TAG: u64 = 8;
    const TAG_HEADER: u64 = 8;
    const TAG_END: u32 = 0;
    const TAG_CMDLINE: u32 = 1;
    let mut cmdline = b"".as_slice();
    // SAFETY: the structure begins with its size; tags are 8-byte aligned and begin with type and size.
    unsafe {
        let end = base + u64::from(field(base, 0));
        let mut tag = base + FIRST_TAG;
        while tag + TAG_HEADER <= end && field(tag, 0) != TAG_END {
            let size = u64::from(field(tag, 4)).max(TAG_HEADER);
            if field(tag, 0) == TAG_CMDLINE {
                cmdline = string(tag + TAG_HEADER);
            }
            tag = (tag + size).next_multiple_of(8);
        }
    }
    Loaded {
        protocol: Protocol::Multiboot2,
        cmdline,
        has_image_path: false,
    }
}

/// # Safety
/// `base` must point to a PVH start info structure.
unsafe fn pvh(base: u64) -> Loaded {
    const CMDLINE: u64 = 24;
    // SAFETY: the caller answers for the structure; a null address means that there is no command line.
    let cmdline = unsafe {
        match u64::from(field(base, CMDLINE)) | u64::from(field(base, CMDLINE + 4)) << 32 {
            0 => b"".as_slice(),
            address => string(address),
        }
    };
    Loaded {
        protocol: Protocol::Pvh,
        cmdline,
        has_image_path: false,
    }
}

/// # Safety
/// There must be readable memory at `base + offset`.
unsafe fn field(base: u64, offset: u64) -> u32 {
    // SAFETY: the caller says that it is readable; linear is physical.
    unsafe { ((base + offset) as *const u32).read_unaligned() }
}

/// # Safety
/// There must be a NUL-terminated string at `address`.
unsafe fn string(address: u64) -> &'static [u8] {
    /// Against a loader that forgets the NUL: a page is more than any command line.
    const LONGEST: usize = 4096;
    let start = address as *const u8;
    // SAFETY: the caller says that there is a string, and nothing behind its NUL is read.
    let length = (0..LONGEST)
        .find(|&index| unsafe { start.add(index).read() } == 0)
        .unwrap_or(LONGEST);
    // SAFETY: the bytes were just read; nobody writes the loader's memory before the string is copied.
    unsafe { core::slice::from_raw_parts(start, length) }
}
