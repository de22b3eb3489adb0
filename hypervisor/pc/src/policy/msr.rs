//! MSRs: a register that is in no row of the table does not exist for the guest, #GP(0) both ways.

use Access::{Emulate, Fault, Ignore, Pass, Zero};

/// What becomes of RDMSR or WRMSR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The processor does it, without an exit where the permission map covers the register.
    Pass,
    /// Reads as 0.
    Zero,
    /// The write does nothing.
    Ignore,
    /// #GP(0).
    Fault,
    /// The hypervisor has code for it.
    Emulate,
}

/// The registers from `first` to `last`.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// The first register.
    pub first: u32,
    /// The last register.
    pub last: u32,
    /// RDMSR.
    pub read: Access,
    /// WRMSR.
    pub write: Access,
    /// What they are, and why they are treated so.
    pub why: &'static str,
}

const fn row(first: u32, last: u32, read: Access, write: Access, why: &'static str) -> Rule {
    Rule {
        first,
        last,
        read,
        write,
        why,
    }
}

/// APIC_BASE: the guest may switch the APIC's modes, but not move its registers over the hypervisor's memory.
pub const APIC_BASE: u32 = 0x1B;
/// How many MTRRs there are.
pub const MTRR_CAP: u32 = 0xFE;
/// The x2APIC's interrupt command register: INIT and start-up would take a processor away from the hypervisor.
pub const X2APIC_ICR: u32 = 0x830;

/// The table, in the order of numbers.
pub const RULES: &[Rule] = &[
    row(0x10, 0x10, Pass, Pass, "TSC: the hypervisor does not use it"),
    row(
        APIC_BASE,
        APIC_BASE,
        Pass,
        Emulate,
        "APIC_BASE: may switch modes, may not move the registers",
    ),
    row(0x3A, 0x3A, Fault, Fault, "FEATURE_CONTROL: not AMD's"),
    row(
        0x48,
        0x49,
        Pass,
        Pass,
        "SPEC_CTRL, PRED_CMD: speculation is the guest's business",
    ),
    row(0x8B, 0x8B, Pass, Ignore, "PATCH_LEVEL"),
    row(0xE7, 0xE8, Pass, Pass, "MPERF, APERF"),
    row(MTRR_CAP, MTRR_CAP, Pass, Fault, "MTRRcap"),
    row(
        0x10A,
        0x10A,
        Pass,
        Fault,
        "ARCH_CAPABILITIES: not AMD's, but KVM announces it on any processor",
    ),
    row(0x10B, 0x10B, Pass, Pass, "FLUSH_CMD"),
    row(
        0x174,
        0x176,
        Pass,
        Pass,
        "SYSENTER_CS, _ESP, _EIP: VMLOAD's, and the hypervisor needs none of them",
    ),
    row(
        0x179,
        0x17B,
        Pass,
        Pass,
        "MCG_CAP, _STATUS, _CTL: machine checks go to the guest",
    ),
    row(
        0x1D9,
        0x1D9,
        Zero,
        Ignore,
        "DebugCtl: branch records would tell of the hypervisor",
    ),
    row(
        0x200,
        0x20F,
        Pass,
        Pass,
        "variable MTRRs: the machine's memory is the guest's",
    ),
    row(0x250, 0x250, Pass, Pass, "fixed MTRRs"),
    row(0x258, 0x259, Pass, Pass, "fixed MTRRs"),
    row(0x268, 0x26F, Pass, Pass, "fixed MTRRs"),
    row(0x277, 0x277, Emulate, Emulate, "PAT: the guest's is in the VMCB"),
    row(0x2FF, 0x2FF, Pass, Pass, "MTRRdefType"),
    row(0x400, 0x47F, Pass, Pass, "machine-check banks"),
    row(
        0x6A0,
        0x6A8,
        Pass,
        Pass,
        "shadow stacks: the VMCB holds what VMRUN needs",
    ),
    row(0x6E0, 0x6E0, Pass, Pass, "TSC_DEADLINE: the APIC is the guest's"),
    row(0x800, 0x82F, Pass, Pass, "x2APIC"),
    row(
        X2APIC_ICR,
        X2APIC_ICR,
        Pass,
        Emulate,
        "x2APIC ICR: INIT and start-up are the hypervisor's",
    ),
    row(0x831, 0x8FF, Pass, Pass, "x2APIC"),
    row(0xDA0, 0xDA0, Pass, Pass, "XSS: the hypervisor saves no extended state"),
    row(0xC000_0080, 0xC000_0080, Emulate, Emulate, "EFER: SVME is hidden"),
    row(
        0xC000_0081,
        0xC000_0084,
        Pass,
        Pass,
        "STAR, LSTAR, CSTAR, SFMASK: VMLOAD's",
    ),
    row(
        0xC000_0100,
        0xC000_0103,
        Pass,
        Pass,
        "FS.base, GS.base, KernelGSbase, TSC_AUX: the hypervisor needs none of them",
    ),
    row(0xC000_0104, 0xC000_0104, Fault, Fault, "TSC_RATIO: SVM's"),
    row(0xC001_0000, 0xC001_0007, Pass, Pass, "performance counters"),
    row(0xC001_0010, 0xC001_0010, Pass, Ignore, "SYSCFG: could encrypt memory"),
    row(0xC001_0015, 0xC001_0015, Pass, Ignore, "HWCR: belongs to the firmware"),
    row(
        0xC001_0016,
        0xC001_0019,
        Pass,
        Ignore,
        "IORRs: could lead memory elsewhere",
    ),
    row(0xC001_001A, 0xC001_001D, Pass, Ignore, "TOP_MEM, TOP_MEM2"),
    row(0xC001_001F, 0xC001_001F, Pass, Ignore, "NB_CFG"),
    row(
        0xC001_0020,
        0xC001_0020,
        Fault,
        Fault,
        "PATCH_LOADER: changes the processor under the hypervisor",
    ),
    row(0xC001_0030, 0xC001_0035, Pass, Ignore, "the processor's name"),
    row(0xC001_0044, 0xC001_004A, Pass, Ignore, "machine-check masks"),
    row(0xC001_0055, 0xC001_0055, Pass, Ignore, "interrupt-pending message"),
    row(
        0xC001_0058,
        0xC001_0058,
        Pass,
        Ignore,
        "MMIO_CONF_BASE: could lie over memory",
    ),
    row(0xC001_0061, 0xC001_006B, Pass, Ignore, "power states"),
    row(0xC001_0111, 0xC001_0113, Fault, Fault, "SMM's memory"),
    row(
        0xC001_0114,
        0xC001_0118,
        Fault,
        Fault,
        "VM_CR, IGNNE, SMM_CTL, VM_HSAVE_PA, SVM_KEY: SVM's",
    ),
    row(0xC001_0140, 0xC001_0141, Pass, Ignore, "OSVW"),
    row(0xC001_0200, 0xC001_020B, Pass, Pass, "performance counters"),
    row(
        0xC001_0230,
        0xC001_023B,
        Pass,
        Pass,
        "performance counters of the last-level cache",
    ),
    row(
        0xC001_0240,
        0xC001_0247,
        Pass,
        Pass,
        "performance counters of the northbridge",
    ),
    row(0xC001_1004, 0xC001_1005, Pass, Fault, "overrides of CPUID"),
    row(
        0xC001_1020,
        0xC001_102D,
        Pass,
        Ignore,
        "LS_CFG, DE_CFG and their kin: belong to the firmware",
    ),
    row(0xC001_1030, 0xC001_103D, Fault, Fault, "IBS: hidden by CPUID"),
];

/// What happens to a register.
#[must_use]
pub fn rule(register: u32) -> Option<&'static Rule> {
    let candidate = RULES.partition_point(|rule| rule.last < register);
    RULES.get(candidate).filter(|rule| rule.first <= register)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_are_in_order_and_do_not_overlap() {
        for rule in RULES {
            assert!(rule.first <= rule.last, "{rule:x?}");
        }
        for pair in RULES.windows(2) {
            assert!(pair[0].last < pair[1].first, "{pair:x?}");
        }
    }

    #[test]
    fn directions_have_actions_that_make_sense() {
        for rule in RULES {
            assert_ne!(rule.read, Ignore, "{rule:x?}");
            assert_ne!(rule.write, Zero, "{rule:x?}");
        }
    }

    #[test]
    fn svm_has_no_registers() {
        for register in [
            svm::msr::VM_CR,
            svm::msr::VM_HSAVE_PA,
            svm::msr::SVM_KEY,
            svm::msr::TSC_RATIO,
        ] {
            let rule = rule(register).expect("named");
            assert_eq!((rule.read, rule.write), (Fault, Fault));
        }
    }

    #[test]
    fn every_register_of_a_row_is_found_and_its_neighbours_are_not() {
        for expected in RULES {
            for register in [expected.first, expected.last] {
                assert_eq!(rule(register).map(|rule| rule.first), Some(expected.first));
            }
        }
        for none in [0, 0x11, 0x1234_5678, 0xC000_0082 + 3, 0xC001_1040, u32::MAX] {
            assert!(rule(none).is_none(), "{none:#x}");
        }
    }
}
