//! What the three loaders hand over: the command line, modules, the memory map.
//!
//! Multiboot 1 specification 3.3 "Boot information format", Multiboot 2 specification 3.6, and the PVH start info
//! structure of the x86/HVM direct boot ABI.

use crate::boot::Protocol;
use crate::handover::Handover;

const MULTIBOOT1_LOADED: u32 = 0x2BAD_B002;
const MULTIBOOT2_LOADED: u32 = 0x36D7_6289;
const PVH_START_INFO: u32 = 0x336E_C578;

/// A command line as the loader left it; `has_image_path` says that it starts with the image's path.
pub(crate) struct Loaded {
    pub protocol: Protocol,
    pub cmdline: &'static [u8],
    pub has_image_path: bool,
}

/// Reads the loader's information at `information`; modules and memory map go to `handover`.
///
/// # Safety
/// `magic` and `information` must be what the loader left in EAX and EBX, and its memory must still be as it was.
pub(crate) unsafe fn read(magic: u32, information: u32, handover: &mut Handover) -> Option<Loaded> {
    let base = u64::from(information);
    // SAFETY: the magic says which structure is at `information`; the caller answers for both.
    unsafe {
        match magic {
            MULTIBOOT1_LOADED => Some(multiboot1(base, handover)),
            MULTIBOOT2_LOADED => Some(multiboot2(base, handover)),
            // PVH leaves EAX undefined and marks its structure instead.
            _ if field(base, 0) == PVH_START_INFO => Some(pvh(base, handover)),
            _ => None,
        }
    }
}

/// # Safety
/// `base` must point to a multiboot 1 information structure.
unsafe fn multiboot1(base: u64, handover: &mut Handover) -> Loaded {
    const FLAGS: u64 = 0;
    const CMDLINE: u64 = 16;
    const LOADER_NAME: u64 = 64;
    const HAS_CMDLINE: u32 = 1 << 2;
    const HAS_LOADER_NAME: u32 = 1 << 9;
    const MODULES: u64 = 20;
    const HAS_MODULES: u32 = 1 << 3;
    const MODULE_SIZE: u64 = 16;
    const MEMORY_MAP: u64 = 44;
    const HAS_MEMORY_MAP: u32 = 1 << 6;
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
        // QEMU puts the file's name before the words, those of the image and those of the modules alike.
        let has_image_path = text(HAS_LOADER_NAME, LOADER_NAME).starts_with(b"qemu");
        if flags & HAS_MODULES != 0 {
            let list = u64::from(field(base, MODULES + 4));
            for index in 0..u64::from(field(base, MODULES)) {
                let module = list + MODULE_SIZE * index;
                let cmdline = match field(module, 8) {
                    0 => b"".as_slice(),
                    address => string(address.into()),
                };
                handover.add_module(
                    field(module, 0).into(),
                    field(module, 4).into(),
                    cmdline,
                    has_image_path,
                );
            }
        }
        if flags & HAS_MEMORY_MAP != 0 {
            let mut entry = u64::from(field(base, MEMORY_MAP + 4));
            let end = entry + u64::from(field(base, MEMORY_MAP));
            while entry < end {
                // The size does not count itself.
                handover.add_area(long(entry, 4), long(entry, 12), field(entry, 20));
                entry += 4 + u64::from(field(entry, 0));
            }
        }
        Loaded {
            protocol: Protocol::Multiboot1,
            cmdline: text(HAS_CMDLINE, CMDLINE),
            has_image_path,
        }
    }
}

/// # Safety
/// `base` must point to a multiboot 2 information structure.
unsafe fn multiboot2(base: u64, handover: &mut Handover) -> Loaded {
    const FIRST_TAG: u64 = 8;
    const TAG_HEADER: u64 = 8;
    const TAG_END: u32 = 0;
    const TAG_CMDLINE: u32 = 1;
    const TAG_MODULE: u32 = 3;
    const TAG_MEMORY_MAP: u32 = 6;
    const TAG_RSDP_1: u32 = 14;
    const TAG_RSDP_2: u32 = 15;
    let mut cmdline = b"".as_slice();
    // SAFETY: the structure begins with its size; tags are 8-byte aligned and begin with type and size.
    unsafe {
        let end = base + u64::from(field(base, 0));
        let mut tag = base + FIRST_TAG;
        while tag + TAG_HEADER <= end && field(tag, 0) != TAG_END {
            let size = u64::from(field(tag, 4)).max(TAG_HEADER);
            let content = tag + TAG_HEADER;
            match field(tag, 0) {
                TAG_CMDLINE => cmdline = string(content),
                TAG_MODULE => {
                    let (start, end) = (field(content, 0).into(), field(content, 4).into());
                    handover.add_module(start, end, string(content + 8), false);
                }
                TAG_MEMORY_MAP => {
                    let entry_size = u64::from(field(content, 0)).max(1);
                    let mut entry = content + 8;
                    while entry + entry_size <= tag + size {
                        handover.add_area(long(entry, 0), long(entry, 8), field(entry, 16));
                        entry += entry_size;
                    }
                }
                // A copy; the tables that it names are where they are. The newer one, which comes second, counts.
                TAG_RSDP_1 | TAG_RSDP_2 => handover.rsdp = content,
                _ => {}
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
unsafe fn pvh(base: u64, handover: &mut Handover) -> Loaded {
    const VERSION: u64 = 4;
    const MODULE_COUNT: u64 = 12;
    const MODULES: u64 = 16;
    const MODULE_SIZE: u64 = 32;
    const CMDLINE: u64 = 24;
    const RSDP: u64 = 32;
    const MEMORY_MAP: u64 = 40;
    const MEMORY_MAP_COUNT: u64 = 48;
    const AREA_SIZE: u64 = 24;
    // SAFETY: the caller answers for the structure; a null address means that there is no such string, and version 0 has
    // no memory map.
    let cmdline = unsafe {
        let text = |address| match address {
            0 => b"".as_slice(),
            address => string(address),
        };
        for index in 0..u64::from(field(base, MODULE_COUNT)) {
            let module = long(base, MODULES) + MODULE_SIZE * index;
            let start = long(module, 0);
            handover.add_module(start, start + long(module, 8), text(long(module, 16)), false);
        }
        handover.rsdp = long(base, RSDP);
        if field(base, VERSION) >= 1 {
            for index in 0..u64::from(field(base, MEMORY_MAP_COUNT)) {
                let area = long(base, MEMORY_MAP) + AREA_SIZE * index;
                handover.add_area(long(area, 0), long(area, 8), field(area, 16));
            }
        }
        text(long(base, CMDLINE))
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
/// As of [`field`], for 8 bytes.
unsafe fn long(base: u64, offset: u64) -> u64 {
    // SAFETY: the caller answers for both halves.
    unsafe { u64::from(field(base, offset)) | u64::from(field(base, offset + 4)) << 32 }
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
