//! What a loader hands over beside the command line: boot modules, the memory map, and where the ACPI tables begin.
//!
//! Copied at the very start, because nothing keeps the loader's own memory from being used afterwards.

use crate::record::Line;

/// The longest command line of a module that is kept.
pub const MAX_MODULE_CMDLINE: usize = 2048;
/// More areas than any firmware tells.
pub const MAX_AREAS: usize = 64;
/// As many modules as anybody here asks for.
const MAX_MODULES: usize = 4;

/// A part of the physical address space, as the firmware describes it (ACPI 6.5, 15.4: address range types).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Area {
    /// Its first byte.
    pub start: u64,
    /// The byte behind its last.
    pub end: u64,
    /// 1 is memory for anybody's use, 2 reserved, 3 ACPI tables, 4 ACPI NVS, 5 defective.
    pub kind: u32,
}

/// A file that the loader put into memory.
pub struct Module {
    /// Physical address of its first byte.
    pub start: u64,
    /// Physical address behind its last byte.
    pub end: u64,
    cmdline: Line<MAX_MODULE_CMDLINE>,
    cmdline_fits: bool,
}

impl Module {
    /// Its command line; `None` if it is longer than [`MAX_MODULE_CMDLINE`].
    pub fn cmdline(&self) -> Option<&[u8]> {
        self.cmdline_fits.then(|| self.cmdline.bytes())
    }
}

/// All of it. What does not fit is counted and not kept.
pub struct Handover {
    areas: [Area; MAX_AREAS],
    area_count: usize,
    modules: [Option<Module>; MAX_MODULES],
    module_count: usize,
    /// Physical address of the ACPI root pointer, 0 if the loader does not tell.
    pub rsdp: u64,
}

impl Default for Handover {
    fn default() -> Self {
        Self {
            areas: [Area::default(); MAX_AREAS],
            area_count: 0,
            modules: [const { None }; MAX_MODULES],
            module_count: 0,
            rsdp: 0,
        }
    }
}

impl Handover {
    /// Adds an area; one without a byte, or beyond the address space, is none.
    pub fn add_area(&mut self, start: u64, length: u64, kind: u32) {
        let Some(end) = start.checked_add(length).filter(|_| length > 0) else {
            return;
        };
        if let Some(area) = self.areas.get_mut(self.area_count) {
            *area = Area { start, end, kind };
        }
        self.area_count += 1;
    }

    /// Adds a module. `cmdline` may begin with the file's name: `has_path` says so.
    pub fn add_module(&mut self, start: u64, end: u64, cmdline: &[u8], has_path: bool) {
        let words = if has_path { without_first_word(cmdline) } else { cmdline };
        if let Some(module) = self.modules.get_mut(self.module_count) {
            let mut line = Line::new();
            let cmdline_fits = line.push_all(words);
            *module = Some(Module {
                start,
                end,
                cmdline: line,
                cmdline_fits,
            });
        }
        self.module_count += 1;
    }

    /// The memory map in the loader's order; `None` if it told none, or more than fits.
    pub fn areas(&self) -> Option<&[Area]> {
        match self.area_count {
            0 => None,
            count => self.areas.get(..count),
        }
    }

    /// The modules in the loader's order, as many as are kept.
    pub fn modules(&self) -> impl Iterator<Item = &Module> {
        self.modules.iter().flatten()
    }
}

/// What follows the file's name, which has no blank in it.
fn without_first_word(line: &[u8]) -> &[u8] {
    let end = line.iter().position(|&byte| byte == b' ').unwrap_or(line.len());
    line[end..].trim_ascii_start()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_are_kept_in_order_and_empty_ones_are_not() {
        let mut handover = Handover::default();
        assert_eq!(handover.areas(), None);
        handover.add_area(0, 0x1000, 1);
        handover.add_area(0x5000, 0, 1);
        handover.add_area(u64::MAX, 2, 1);
        handover.add_area(0x2000, 0x1000, 2);
        let kept = handover.areas().expect("there are some");
        assert_eq!(
            kept.iter()
                .map(|area| (area.start, area.end, area.kind))
                .collect::<Vec<_>>(),
            [(0, 0x1000, 1), (0x2000, 0x3000, 2)]
        );
    }

    #[test]
    fn a_map_that_does_not_fit_is_no_map() {
        let mut handover = Handover::default();
        for index in 0..=MAX_AREAS as u64 {
            handover.add_area(index << 12, 0x1000, 1);
        }
        assert_eq!(handover.areas(), None);
    }

    #[test]
    fn a_module_keeps_its_words_without_the_file_name() {
        let mut handover = Handover::default();
        handover.add_module(1, 2, b"/tmp/vmlinuz console=ttyS0 quiet", true);
        handover.add_module(3, 4, b"/tmp/initrd", true);
        handover.add_module(5, 6, b"console=ttyS0", false);
        handover.add_module(7, 8, &[b'x'; MAX_MODULE_CMDLINE + 1], false);
        handover.add_module(9, 10, b"one too many", false);
        let words: Vec<_> = handover.modules().map(Module::cmdline).collect();
        assert_eq!(
            words,
            [
                Some(b"console=ttyS0 quiet".as_slice()),
                Some(b"".as_slice()),
                Some(b"console=ttyS0".as_slice()),
                None
            ]
        );
    }
}
