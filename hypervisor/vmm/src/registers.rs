//! The processor's registers by GDB's names and numbers.

use std::fmt::Write;

use kvm_bindings::{kvm_debugregs, kvm_regs, kvm_segment, kvm_sregs};

pub struct Registers {
    pub regs: kvm_regs,
    pub sregs: kvm_sregs,
    pub debug: kvm_debugregs,
}

/// Name and width in bits, in the order of their numbers.
const LAYOUT: [(&str, u32); 54] = [
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
    ("gdt_base", 64),
    ("gdt_limit", 32),
    ("idt_base", 64),
    ("idt_limit", 32),
    ("ldt_base", 64),
    ("ldt_limit", 32),
    ("tr_base", 64),
    ("tr_limit", 32),
    ("cs_base", 64),
    ("cs_limit", 32),
    ("cs_attributes", 32),
    ("ss_base", 64),
    ("ss_limit", 32),
    ("ss_attributes", 32),
    ("ds_base", 64),
    ("ds_limit", 32),
    ("ds_attributes", 32),
    ("es_base", 64),
    ("es_limit", 32),
    ("es_attributes", 32),
    ("dr6", 64),
    ("dr7", 64),
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
    pub fn get(&mut self, number: usize) -> Option<Vec<u8>> {
        let (_, bits) = LAYOUT.get(number)?;
        Some(self.value(number)?.to_le_bytes()[..*bits as usize / 8].to_vec())
    }

    pub fn set(&mut self, number: usize, value: u64) -> bool {
        match self.place(number) {
            Some(Place::Long(place)) => *place = value,
            Some(Place::Word(place)) => *place = value as u32,
            Some(Place::Half(place)) => *place = value as u16,
            Some(Place::Told(_)) | None => return false,
        }
        true
    }

    fn value(&mut self, number: usize) -> Option<u64> {
        Some(match self.place(number)? {
            Place::Long(place) => *place,
            Place::Word(place) => (*place).into(),
            Place::Half(place) => (*place).into(),
            Place::Told(value) => value,
        })
    }

    fn place(&mut self, number: usize) -> Option<Place<'_>> {
        let (regs, sregs) = (&mut self.regs, &mut self.sregs);
        Some(match LAYOUT.get(number)?.0 {
            "rax" => Place::Long(&mut regs.rax),
            "rbx" => Place::Long(&mut regs.rbx),
            "rcx" => Place::Long(&mut regs.rcx),
            "rdx" => Place::Long(&mut regs.rdx),
            "rsi" => Place::Long(&mut regs.rsi),
            "rdi" => Place::Long(&mut regs.rdi),
            "rbp" => Place::Long(&mut regs.rbp),
            "rsp" => Place::Long(&mut regs.rsp),
            "r8" => Place::Long(&mut regs.r8),
            "r9" => Place::Long(&mut regs.r9),
            "r10" => Place::Long(&mut regs.r10),
            "r11" => Place::Long(&mut regs.r11),
            "r12" => Place::Long(&mut regs.r12),
            "r13" => Place::Long(&mut regs.r13),
            "r14" => Place::Long(&mut regs.r14),
            "r15" => Place::Long(&mut regs.r15),
            "rip" => Place::Long(&mut regs.rip),
            "eflags" => Place::Long(&mut regs.rflags),
            "cs" => Place::Half(&mut sregs.cs.selector),
            "ss" => Place::Half(&mut sregs.ss.selector),
            "ds" => Place::Half(&mut sregs.ds.selector),
            "es" => Place::Half(&mut sregs.es.selector),
            "fs" => Place::Half(&mut sregs.fs.selector),
            "gs" => Place::Half(&mut sregs.gs.selector),
            "fs_base" => Place::Long(&mut sregs.fs.base),
            "gs_base" => Place::Long(&mut sregs.gs.base),
            "cr0" => Place::Long(&mut sregs.cr0),
            "cr2" => Place::Long(&mut sregs.cr2),
            "cr3" => Place::Long(&mut sregs.cr3),
            "cr4" => Place::Long(&mut sregs.cr4),
            "cr8" => Place::Long(&mut sregs.cr8),
            "efer" => Place::Long(&mut sregs.efer),
            "gdt_base" => Place::Long(&mut sregs.gdt.base),
            "gdt_limit" => Place::Half(&mut sregs.gdt.limit),
            "idt_base" => Place::Long(&mut sregs.idt.base),
            "idt_limit" => Place::Half(&mut sregs.idt.limit),
            "ldt_base" => Place::Long(&mut sregs.ldt.base),
            "ldt_limit" => Place::Word(&mut sregs.ldt.limit),
            "tr_base" => Place::Long(&mut sregs.tr.base),
            "tr_limit" => Place::Word(&mut sregs.tr.limit),
            "cs_base" => Place::Long(&mut sregs.cs.base),
            "cs_limit" => Place::Word(&mut sregs.cs.limit),
            "cs_attributes" => Place::Told(attributes(&sregs.cs)),
            "ss_base" => Place::Long(&mut sregs.ss.base),
            "ss_limit" => Place::Word(&mut sregs.ss.limit),
            "ss_attributes" => Place::Told(attributes(&sregs.ss)),
            "ds_base" => Place::Long(&mut sregs.ds.base),
            "ds_limit" => Place::Word(&mut sregs.ds.limit),
            "ds_attributes" => Place::Told(attributes(&sregs.ds)),
            "es_base" => Place::Long(&mut sregs.es.base),
            "es_limit" => Place::Word(&mut sregs.es.limit),
            "es_attributes" => Place::Told(attributes(&sregs.es)),
            "dr6" => Place::Told(self.debug.dr6),
            "dr7" => Place::Told(self.debug.dr7),
            _ => return None,
        })
    }
}

/// Where a register is kept.
enum Place<'a> {
    Long(&'a mut u64),
    Word(&'a mut u32),
    Half(&'a mut u16),
    /// It can be read only.
    Told(u64),
}

/// Bits 55:40 of the descriptor, those of the limit 0. A segment that is null has none.
fn attributes(segment: &kvm_segment) -> u64 {
    if segment.unusable != 0 {
        return 0;
    }
    [
        (segment.type_, 0),
        (segment.s, 4),
        (segment.dpl, 5),
        (segment.present, 7),
        (segment.avl, 12),
        (segment.l, 13),
        (segment.db, 14),
        (segment.g, 15),
    ]
    .into_iter()
    .map(|(value, bit)| u64::from(value) << bit)
    .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_register_can_be_set_and_read_back_and_is_one_of_its_own() {
        let mut registers = Registers {
            regs: kvm_regs::default(),
            sregs: kvm_sregs::default(),
            debug: kvm_debugregs::default(),
        };
        let told = |name: &str| name.ends_with("_attributes") || name.starts_with("dr");
        for (number, (name, _)) in LAYOUT.iter().enumerate() {
            assert_eq!(registers.set(number, 0x1000 + number as u64), !told(name), "{name}");
        }
        for (number, (name, bits)) in LAYOUT.iter().enumerate().filter(|(_, (name, _))| !told(name)) {
            let bytes = registers.get(number).expect("there is one");
            assert_eq!(bytes.len(), *bits as usize / 8, "{name}");
            assert_eq!(bytes[..2], (0x1000 + number as u16).to_le_bytes(), "{name}");
        }
        assert!(!registers.set(Registers::count(), 0));
        assert_eq!(registers.get(Registers::count()), None);
    }

    #[test]
    fn attributes_stand_as_in_a_descriptor() {
        let code = kvm_segment {
            type_: 0xB,
            s: 1,
            present: 1,
            l: 1,
            g: 1,
            ..Default::default()
        };
        assert_eq!(attributes(&code), 0xA09B);
        assert_eq!(attributes(&kvm_segment { unusable: 1, ..code }), 0);
    }

    #[test]
    fn the_description_has_them_all() {
        assert_eq!(Registers::describe().matches("<reg ").count(), Registers::count());
        assert_eq!(LAYOUT[FIRST_SYSTEM_REGISTER].0, "cs");
    }
}
