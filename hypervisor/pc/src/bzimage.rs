//! The x86 boot protocol of Linux (Documentation/arch/x86/boot.rst in its source): the header of a bzImage, and the page
//! of boot parameters, entered through the kernel's 32-bit entry point.

use crate::memory::{MemoryMap, Span};

/// Offsets in the kernel's first sectors and, alike, in the page of boot parameters.
mod at {
    pub const SETUP_SECTS: usize = 0x1F1;
    pub const BOOT_FLAG: usize = 0x1FE;
    /// The header ends here plus the byte that stands here.
    pub const JUMP: usize = 0x201;
    pub const HEADER: usize = 0x202;
    pub const VERSION: usize = 0x206;
    pub const TYPE_OF_LOADER: usize = 0x210;
    pub const LOADFLAGS: usize = 0x211;
    pub const CODE32_START: usize = 0x214;
    pub const RAMDISK_IMAGE: usize = 0x218;
    pub const RAMDISK_SIZE: usize = 0x21C;
    pub const CMD_LINE_PTR: usize = 0x228;
    pub const INITRD_ADDR_MAX: usize = 0x22C;
    pub const KERNEL_ALIGNMENT: usize = 0x230;
    pub const RELOCATABLE: usize = 0x234;
    pub const CMDLINE_SIZE: usize = 0x238;
    pub const PREF_ADDRESS: usize = 0x258;
    pub const INIT_SIZE: usize = 0x260;
    pub const FIELDS_END: usize = 0x264;
}

/// Offsets in the page of boot parameters alone.
mod page {
    pub const ACPI_RSDP: usize = 0x70;
    pub const E820_ENTRIES: usize = 0x1E8;
    pub const E820_TABLE: usize = 0x2D0;
    pub const E820_ENTRY_SIZE: usize = 20;
}

const SECTOR: usize = 512;
const BOOT_FLAG: u16 = 0xAA55;
const MAGIC: &[u8; 4] = b"HdrS";
/// 2.10: the first with PREF_ADDRESS and INIT_SIZE.
const OLDEST_VERSION: u16 = 0x020A;
const LOADED_HIGH: u8 = 1 << 0;
/// A loader without a number of its own.
const UNDEFINED_LOADER: u8 = 0xFF;

/// The page of boot parameters.
pub const PARAMETERS_SIZE: usize = 4096;

/// A kernel that can be loaded.
#[derive(Debug)]
pub struct Kernel<'a> {
    header: &'a [u8],
    code: &'a [u8],
    /// A power of two that divides the address it is loaded at.
    pub alignment: u64,
    /// Where it would best be loaded.
    pub preferred: u64,
    /// Bytes that it needs there before it looks at the memory map.
    pub init_size: u64,
    /// The greatest address of the initial RAM disk's last byte.
    pub ramdisk_max: u64,
    /// Characters of its command line, without the NUL.
    pub cmdline_max: usize,
}

/// What the kernel is told.
#[derive(Clone, Copy)]
pub struct Parameters<'a> {
    /// Where its code was put.
    pub code: u64,
    /// Where its command line is, with a NUL.
    pub cmdline: u64,
    /// Where its initial RAM disk is, if there is one.
    pub ramdisk: Option<Span>,
    /// Physical address of the ACPI root pointer; 0 lets it search.
    pub rsdp: u64,
    /// Its memory.
    pub memory: &'a MemoryMap,
}

impl<'a> Kernel<'a> {
    /// Reads the header of a bzImage.
    ///
    /// # Errors
    /// Says why it cannot be loaded.
    pub fn parse(image: &'a [u8]) -> Result<Self, &'static str> {
        if image.len() < at::FIELDS_END || &image[at::HEADER..][..4] != MAGIC || word(image, at::BOOT_FLAG) != BOOT_FLAG
        {
            return Err("is no bzImage: it has no setup header");
        }
        if word(image, at::VERSION) < OLDEST_VERSION {
            return Err("speaks a boot protocol before 2.10");
        }
        if image[at::LOADFLAGS] & LOADED_HIGH == 0 || image[at::RELOCATABLE] == 0 {
            return Err("cannot be loaded anywhere: it is no relocatable bzImage");
        }
        let setup_sectors = match image[at::SETUP_SECTS] {
            0 => 4, // so the protocol says
            count => usize::from(count),
        };
        let header_end = at::HEADER + usize::from(image[at::JUMP]);
        let (Some(header), Some(code)) = (
            image.get(at::SETUP_SECTS..header_end),
            image.get((setup_sectors + 1) * SECTOR..),
        ) else {
            return Err("is cut short");
        };
        let alignment = u64::from(long(image, at::KERNEL_ALIGNMENT));
        let init_size = u64::from(long(image, at::INIT_SIZE));
        if !alignment.is_power_of_two() || init_size < code.len() as u64 {
            return Err("has a header that contradicts itself");
        }
        Ok(Self {
            header,
            code,
            alignment,
            preferred: u64::from(long(image, at::PREF_ADDRESS)) | u64::from(long(image, at::PREF_ADDRESS + 4)) << 32,
            init_size,
            ramdisk_max: long(image, at::INITRD_ADDR_MAX).into(),
            cmdline_max: long(image, at::CMDLINE_SIZE) as usize,
        })
    }

    /// What has to be copied to where the kernel is loaded; its first byte is the 32-bit entry point.
    #[must_use]
    pub const fn code(&self) -> &'a [u8] {
        self.code
    }

    /// The page of boot parameters. All addresses must lie below 4 GiB.
    #[must_use]
    pub fn parameters(&self, told: &Parameters<'_>) -> [u8; PARAMETERS_SIZE] {
        let mut bytes = [0; PARAMETERS_SIZE];
        bytes[at::SETUP_SECTS..][..self.header.len()].copy_from_slice(self.header);
        bytes[at::TYPE_OF_LOADER] = UNDEFINED_LOADER;
        let ramdisk = told.ramdisk.unwrap_or_default();
        for (offset, value) in [
            (at::CODE32_START, told.code),
            (at::RAMDISK_IMAGE, ramdisk.start),
            (at::RAMDISK_SIZE, ramdisk.end - ramdisk.start),
            (at::CMD_LINE_PTR, told.cmdline),
        ] {
            bytes[offset..][..4].copy_from_slice(&(value as u32).to_le_bytes());
        }
        bytes[page::ACPI_RSDP..][..8].copy_from_slice(&told.rsdp.to_le_bytes());
        let areas = told.memory.areas();
        bytes[page::E820_ENTRIES] = areas.len() as u8;
        let table = bytes[page::E820_TABLE..].chunks_exact_mut(page::E820_ENTRY_SIZE);
        for (entry, area) in table.zip(areas) {
            entry[..8].copy_from_slice(&area.span.start.to_le_bytes());
            entry[8..16].copy_from_slice(&(area.span.end - area.span.start).to_le_bytes());
            entry[16..].copy_from_slice(&area.kind.to_le_bytes());
        }
        bytes
    }
}

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn long(bytes: &[u8], at: usize) -> u32 {
    u32::from(word(bytes, at)) | u32::from(word(bytes, at + 2)) << 16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{Area, USABLE};

    /// A bzImage with one setup sector, as small as one can be.
    fn image() -> Vec<u8> {
        let mut bytes = vec![0; 3 * SECTOR];
        bytes[at::SETUP_SECTS] = 1;
        bytes[at::BOOT_FLAG..][..2].copy_from_slice(&BOOT_FLAG.to_le_bytes());
        bytes[at::JUMP] = 0x6A;
        bytes[at::HEADER..][..4].copy_from_slice(MAGIC);
        bytes[at::VERSION..][..2].copy_from_slice(&0x020F_u16.to_le_bytes());
        bytes[at::LOADFLAGS] = LOADED_HIGH;
        bytes[at::RELOCATABLE] = 1;
        bytes[at::KERNEL_ALIGNMENT..][..4].copy_from_slice(&0x20_0000_u32.to_le_bytes());
        bytes[at::PREF_ADDRESS..][..8].copy_from_slice(&0x100_0000_u64.to_le_bytes());
        bytes[at::INIT_SIZE..][..4].copy_from_slice(&0x300_0000_u32.to_le_bytes());
        bytes[at::CMDLINE_SIZE..][..4].copy_from_slice(&2047_u32.to_le_bytes());
        bytes[2 * SECTOR] = 0xFC;
        bytes
    }

    #[test]
    fn a_header_says_what_the_kernel_needs() {
        let image = image();
        let kernel = Kernel::parse(&image).expect("it is one");
        assert_eq!(
            (kernel.alignment, kernel.preferred, kernel.init_size, kernel.cmdline_max),
            (0x20_0000, 0x100_0000, 0x300_0000, 2047)
        );
        assert_eq!((kernel.code().len(), kernel.code()[0]), (SECTOR, 0xFC));
    }

    #[test]
    fn every_way_to_be_no_kernel_has_a_name() {
        let why = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut image = image();
            change(&mut image);
            Kernel::parse(&image).expect_err("it was spoilt")
        };
        assert!(why(&|bytes| bytes.truncate(at::FIELDS_END - 1)).contains("no bzImage"));
        assert!(why(&|bytes| bytes[at::HEADER] = b'h').contains("no bzImage"));
        assert!(why(&|bytes| bytes[at::BOOT_FLAG] = 0).contains("no bzImage"));
        assert!(why(&|bytes| bytes[at::VERSION] = 9).contains("protocol"));
        assert!(why(&|bytes| bytes[at::LOADFLAGS] = 0).contains("relocatable"));
        assert!(why(&|bytes| bytes[at::RELOCATABLE] = 0).contains("relocatable"));
        assert!(why(&|bytes| bytes[at::SETUP_SECTS] = 0).contains("cut short"));
        assert!(why(&|bytes| bytes[at::KERNEL_ALIGNMENT] = 1).contains("contradicts"));
        assert!(why(&|bytes| bytes[at::INIT_SIZE..][..4].fill(0)).contains("contradicts"));
    }

    #[test]
    fn the_parameters_hold_what_the_kernel_is_told() {
        let image = image();
        let kernel = Kernel::parse(&image).expect("it is one");
        let usable = Area {
            span: Span::sized(0x1000, 0x2000),
            kind: USABLE,
        };
        let memory = MemoryMap::without([usable].into_iter(), &[]).expect("it fits");
        let page = kernel.parameters(&Parameters {
            code: 0x100_0000,
            cmdline: 0x9_2000,
            ramdisk: Some(Span::sized(0x80_0000, 0x1234)),
            rsdp: 0xF_5000,
            memory: &memory,
        });
        assert_eq!(&page[at::HEADER..][..4], MAGIC);
        assert_eq!(
            (long(&page, at::CODE32_START), long(&page, at::CMD_LINE_PTR)),
            (0x100_0000, 0x9_2000)
        );
        assert_eq!(
            (long(&page, at::RAMDISK_IMAGE), long(&page, at::RAMDISK_SIZE)),
            (0x80_0000, 0x1234)
        );
        assert_eq!(
            (page[at::TYPE_OF_LOADER], long(&page, page::ACPI_RSDP)),
            (0xFF, 0xF_5000)
        );
        assert_eq!(
            (
                page[page::E820_ENTRIES],
                long(&page, page::E820_TABLE),
                long(&page, page::E820_TABLE + 8)
            ),
            (1, 0x1000, 0x2000)
        );
        assert_eq!(long(&page, page::E820_TABLE + 16), USABLE);
    }
}
