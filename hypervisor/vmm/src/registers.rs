//! The processor's registers by GDB's names and numbers.

use std::fmt::Write;

use kvm_bindings::{kvm_regs, kvm_segment, kvm_sregs};

pub struct Registers {
    pub regs: kvm_regs,
    pub sregs: kvm_sregs,
}

/// Name and width in bits, in the order of their numbers.
const LAYOUT: [(&str, u32); 32] = [
    ("rax", 64),
    ("rbx", 64),
    ("rcx", 64),
    ("rdx", 64),
    ("rsi", 64),
    ("rdi", 64),
    ("rbp", 64),
    ("rsp", 64),
    ("r8", 64),
    ("r9", 64),
    ("r10", 64),
    ("r11", 64),
    ("r12", 64),
    ("r13", 64),
    ("r14", 64),
    ("r15", 64),
    ("rip", 64),
    ("eflags", 32),
    ("cs", 32),
    ("ss", 32),
    ("ds", 32),
    ("es", 32),
    ("fs", 32),
    ("gs", 32),
    ("fs_base", 64),
    ("gs_base", 64),
    ("cr0", 64),
    ("cr2", 64),
    ("cr3", 64),
    ("cr4", 64),
    ("cr8", 64),
    ("efer", 64),
];

/// Those that are in [`kvm_sregs`].
const FIRST_SYSTEM_REGISTER: usize = 18;

impl Registers {
    /// The description that a debugger asks for.
    pub fn describe() -> String {
        let mut text = String::from(concat!(
            "<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\"><target>",
            "<architecture>i386:x86-64</architecture><feature name=\"org.svmconf.vmm\">",
        ));
        for (name, bits) in LAYOUT {
            let _ = write!(text, "<reg name=\"{name}\" bitsize=\"{bits}\"/>");
        }
        text + "</feature></target>"
    }

    pub fn count() -> usize {
        LAYOUT.len()
    }

    /// Whether setting this one changes [`kvm_sregs`].
    pub fn is_system(number: usize) -> bool {
        number >= FIRST_SYSTEM_REGISTER
    }

    /// The value, little-endian, as long as the description says.
    pub fn get(&self, number: usize) -> Option<Vec<u8>> {
        let (_, bits) = LAYOUT.get(number)?;
        Some(self.value(number).to_le_bytes()[..*bits as usize / 8].to_vec())
    }

    pub fn set(&mut self, number: usize, value: u64) -> bool {
        if let Some(segment) = self.segment(number) {
            segment.selector = value as u16;
            return true;
        }
        let Some(register) = self.word(number) else {
            return false;
        };
        *register = value;
        true
    }

    fn value(&self, number: usize) -> u64 {
        let mut copy = Self {
            regs: self.regs,
            sregs: self.sregs,
        };
        match copy.segment(number) {
            Some(segment) => segment.selector.into(),
            None => copy.word(number).map_or(0, |register| *register),
        }
    }

    fn segment(&mut self, number: usize) -> Option<&mut kvm_segment> {
        let sregs = &mut self.sregs;
        Some(match LAYOUT.get(number)?.0 {
            "cs" => &mut sregs.cs,
            "ss" => &mut sregs.ss,
            "ds" => &mut sregs.ds,
            "es" => &mut sregs.es,
            "fs" => &mut sregs.fs,
            "gs" => &mut sregs.gs,
            _ => return None,
        })
    }

    fn word(&mut self, number: usize) -> Option<&mut u64> {
        let (regs, sregs) = (&mut self.regs, &mut self.sregs);
        Some(match LAYOUT.get(number)?.0 {
            "rax" => &mut regs.rax,
            "rbx" => &mut regs.rbx,
            "rcx" => &mut regs.rcx,
            "rdx" => &mut regs.rdx,
            "rsi" => &mut regs.rsi,
            "rdi" => &mut regs.rdi,
            "rbp" => &mut regs.rbp,
            "rsp" => &mut regs.rsp,
            "r8" => &mut regs.r8,
            "r9" => &mut regs.r9,
            "r10" => &mut regs.r10,
            "r11" => &mut regs.r11,
            "r12" => &mut regs.r12,
            "r13" => &mut regs.r13,
            "r14" => &mut regs.r14,
            "r15" => &mut regs.r15,
            "rip" => &mut regs.rip,
            "eflags" => &mut regs.rflags,
            "fs_base" => &mut sregs.fs.base,
            "gs_base" => &mut sregs.gs.base,
            "cr0" => &mut sregs.cr0,
            "cr2" => &mut sregs.cr2,
            "cr3" => &mut sregs.cr3,
            "cr4" => &mut sregs.cr4,
            "cr8" => &mut sregs.cr8,
            "efer" => &mut sregs.efer,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_register_can_be_set_and_read_back_and_is_one_of_its_own() {
        let mut registers = Registers {
            regs: kvm_regs::default(),
            sregs: kvm_sregs::default(),
        };
        for (number, (name, _)) in LAYOUT.iter().enumerate() {
            assert!(registers.set(number, 0x1000 + number as u64), "{name}");
        }
        for (number, (name, bits)) in LAYOUT.iter().enumerate() {
            let bytes = registers.get(number).expect("there is one");
            assert_eq!(bytes.len(), *bits as usize / 8, "{name}");
            assert_eq!(bytes[..2], (0x1000 + number as u16).to_le_bytes(), "{name}");
        }
        assert!(!registers.set(Registers::count(), 0));
        assert_eq!(registers.get(Registers::count()), None);
    }

    #[test]
    fn the_description_has_them_all() {
        assert_eq!(Registers::describe().matches("<reg ").count(), Registers::count());
        assert_eq!(LAYOUT[FIRST_SYSTEM_REGISTER].0, "cs");
    }
}
