//! Exit codes (appendix C).

use core::fmt;

/// Why the guest stopped, 64 bits (VMCB 070h, SVM-C-002). Any value can be held and shown, known or not.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExitCode(pub u64);

macro_rules! codes {
    ($($what:literal: $($value:literal $name:ident)*;)*) => {
        impl ExitCode {
            $($(
                #[doc = concat!("Exit code ", stringify!($value), ": ", $what, ".")]
                pub const $name: Self = Self($value);
            )*)*

            /// The name that appendix C gives this code, without `VMEXIT_`; `None` if it gives none.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self {
                    $($(Self::$name => Some(stringify!($name)),)*)*
                    _ => None,
                }
            }

            #[cfg(test)]
            const ALL: &'static [Self] = &[$($(Self::$name,)*)*];
        }
    };
}

codes! {
    "a read of that control register (15.8.1)":
        0x00 CR0_READ  0x01 CR1_READ  0x02 CR2_READ  0x03 CR3_READ  0x04 CR4_READ  0x05 CR5_READ
        0x06 CR6_READ  0x07 CR7_READ  0x08 CR8_READ  0x09 CR9_READ  0x0a CR10_READ 0x0b CR11_READ
        0x0c CR12_READ 0x0d CR13_READ 0x0e CR14_READ 0x0f CR15_READ;
    "a write of that control register (15.8.1)":
        0x10 CR0_WRITE  0x11 CR1_WRITE  0x12 CR2_WRITE  0x13 CR3_WRITE  0x14 CR4_WRITE  0x15 CR5_WRITE
        0x16 CR6_WRITE  0x17 CR7_WRITE  0x18 CR8_WRITE  0x19 CR9_WRITE  0x1a CR10_WRITE 0x1b CR11_WRITE
        0x1c CR12_WRITE 0x1d CR13_WRITE 0x1e CR14_WRITE 0x1f CR15_WRITE;
    "a read of that debug register (15.8.2)":
        0x20 DR0_READ  0x21 DR1_READ  0x22 DR2_READ  0x23 DR3_READ  0x24 DR4_READ  0x25 DR5_READ
        0x26 DR6_READ  0x27 DR7_READ  0x28 DR8_READ  0x29 DR9_READ  0x2a DR10_READ 0x2b DR11_READ
        0x2c DR12_READ 0x2d DR13_READ 0x2e DR14_READ 0x2f DR15_READ;
    "a write of that debug register (15.8.2)":
        0x30 DR0_WRITE  0x31 DR1_WRITE  0x32 DR2_WRITE  0x33 DR3_WRITE  0x34 DR4_WRITE  0x35 DR5_WRITE
        0x36 DR6_WRITE  0x37 DR7_WRITE  0x38 DR8_WRITE  0x39 DR9_WRITE  0x3a DR10_WRITE 0x3b DR11_WRITE
        0x3c DR12_WRITE 0x3d DR13_WRITE 0x3e DR14_WRITE 0x3f DR15_WRITE;
    "that exception; EXITINFO1 is its error code, and for #PF EXITINFO2 the address (15.12)":
        0x40 EXCP_DE 0x41 EXCP_DB 0x42 EXCP_2  0x43 EXCP_BP 0x44 EXCP_OF 0x45 EXCP_BR 0x46 EXCP_UD 0x47 EXCP_NM
        0x48 EXCP_DF 0x49 EXCP_9  0x4a EXCP_TS 0x4b EXCP_NP 0x4c EXCP_SS 0x4d EXCP_GP 0x4e EXCP_PF 0x4f EXCP_15
        0x50 EXCP_MF 0x51 EXCP_AC 0x52 EXCP_MC 0x53 EXCP_XF 0x54 EXCP_20 0x55 EXCP_CP 0x56 EXCP_22 0x57 EXCP_23
        0x58 EXCP_24 0x59 EXCP_25 0x5a EXCP_26 0x5b EXCP_27 0x5c EXCP_HV 0x5d EXCP_VC 0x5e EXCP_SX 0x5f EXCP_31;
    "that interrupt, physical or (VINTR) virtual (15.13)":
        0x60 INTR 0x61 NMI 0x62 SMI 0x63 INIT 0x64 VINTR;
    "a CR0 write that changes more than TS and MP (15.8.1)":
        0x65 CR0_SEL_WRITE;
    "that descriptor-table register (15.9)":
        0x66 IDTR_READ  0x67 GDTR_READ  0x68 LDTR_READ  0x69 TR_READ
        0x6a IDTR_WRITE 0x6b GDTR_WRITE 0x6c LDTR_WRITE 0x6d TR_WRITE;
    "that instruction (15.9)":
        0x6e RDTSC 0x6f RDPMC 0x70 PUSHF 0x71 POPF 0x72 CPUID 0x73 RSM 0x74 IRET 0x75 SWINT 0x76 INVD 0x77 PAUSE
        0x78 HLT   0x79 INVLPG 0x7a INVLPGA;
    "IN, OUT, INS or OUTS of a port that the map covers; see IoExitInfo (15.10)":
        0x7b IOIO;
    "RDMSR (EXITINFO1 = 0) or WRMSR (1) of a register that the map covers (15.11)":
        0x7c MSR;
    "that event (15.14)":
        0x7d TASK_SWITCH 0x7e FERR_FREEZE 0x7f SHUTDOWN;
    "that SVM instruction (15.9)":
        0x80 VMRUN 0x81 VMMCALL 0x82 VMLOAD 0x83 VMSAVE 0x84 STGI 0x85 CLGI 0x86 SKINIT;
    "that instruction, of the second miscellaneous vector (15.9)":
        0x87 RDTSCP 0x88 ICEBP 0x89 WBINVD 0x8a MONITOR 0x8b MWAIT 0x8c MWAIT_CONDITIONAL 0x8d XSETBV 0x8e RDPRU;
    "after a write of that register (15.9)":
        0x8f EFER_WRITE_TRAP
        0x90 CR0_WRITE_TRAP  0x91 CR1_WRITE_TRAP  0x92 CR2_WRITE_TRAP  0x93 CR3_WRITE_TRAP
        0x94 CR4_WRITE_TRAP  0x95 CR5_WRITE_TRAP  0x96 CR6_WRITE_TRAP  0x97 CR7_WRITE_TRAP
        0x98 CR8_WRITE_TRAP  0x99 CR9_WRITE_TRAP  0x9a CR10_WRITE_TRAP 0x9b CR11_WRITE_TRAP
        0x9c CR12_WRITE_TRAP 0x9d CR13_WRITE_TRAP 0x9e CR14_WRITE_TRAP 0x9f CR15_WRITE_TRAP;
    "that event, of the third miscellaneous vector (15.9)":
        0xa0 INVLPGB 0xa1 INVLPGB_ILLEGAL 0xa2 INVPCID 0xa3 MCOMMIT 0xa4 TLBSYNC 0xa5 BUSLOCK 0xa6 IDLE_HLT;
    "a nested page fault; see NpfErrorCode, EXITINFO2 is the guest-physical address (15.25.6)":
        0x400 NPF;
    "that AVIC event (15.29)":
        0x401 AVIC_INCOMPLETE_IPI 0x402 AVIC_NOACCEL;
    "VMGEXIT of an SEV-ES guest (15.35)":
        0x403 VMGEXIT;
    "illegal guest state: the guest did not run (15.5.1, SVM-15.5.1-C-031)":
        0xffff_ffff_ffff_ffff INVALID;
    "a guest with encrypted state that cannot run now (15.36)":
        0xffff_ffff_ffff_fffe BUSY
        0xffff_ffff_ffff_fffd IDLE_REQUIRED;
    "illegal state of virtualized performance counters (15.39)":
        0xffff_ffff_ffff_fffc INVALID_PMC;
}

impl ExitCode {
    /// True if VMRUN refused the VMCB. The code has 64 bits (SVM-C-002), but some emulators write -1 with 32 of them.
    #[must_use]
    pub const fn is_invalid(self) -> bool {
        self.0 as u32 == Self::INVALID.0 as u32 // one comparison: no other code ends in these bits
    }

    /// The code of an intercepted exception, vectors 0 to 31 (15.12).
    #[must_use]
    pub const fn exception(vector: u8) -> Self {
        Self(Self::EXCP_DE.0 + (vector & 31) as u64)
    }

    /// The vector, if this is an exception's code (15.12).
    #[must_use]
    pub const fn exception_vector(self) -> Option<u8> {
        if self.0 >= Self::EXCP_DE.0 && self.0 <= Self::EXCP_31.0 {
            Some((self.0 & 31) as u8)
        } else {
            None
        }
    }

    /// The register's number, if this is a read or write of a control register (15.8.1).
    #[must_use]
    pub const fn control_register(self) -> Option<u8> {
        if self.0 <= Self::CR15_WRITE.0 {
            Some((self.0 & 15) as u8)
        } else {
            None
        }
    }

    /// The register's number, if this is a read or write of a debug register (15.8.2).
    #[must_use]
    pub const fn debug_register(self) -> Option<u8> {
        if self.0 >= Self::DR0_READ.0 && self.0 <= Self::DR15_WRITE.0 {
            Some((self.0 & 15) as u8)
        } else {
            None
        }
    }
}

/// The name, or `UNKNOWN_` and the number.
impl fmt::Display for ExitCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => write!(f, "UNKNOWN_{:#x}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_up_to_a6_has_its_own_name() {
        assert!((0..=0xa6).all(|code| ExitCode::ALL[code as usize] == ExitCode(code)));
        let mut names: Vec<_> = ExitCode::ALL.iter().map(|code| code.name().expect("named")).collect();
        assert_eq!(names.len(), 0xa7 + 4 + 4);
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ExitCode::ALL.len());
    }

    #[test]
    fn names_are_those_of_the_table() {
        let shown = [
            0x13,
            0x2f,
            0x4d,
            0x5f,
            0x6e,
            0x7f,
            0x80,
            0x98,
            0xa6,
            0x400,
            u64::MAX,
            u64::MAX - 3,
        ]
        .map(|code| ExitCode(code).to_string());
        assert_eq!(
            shown,
            [
                "CR3_WRITE",
                "DR15_READ",
                "EXCP_GP",
                "EXCP_31",
                "RDTSC",
                "SHUTDOWN",
                "VMRUN",
                "CR8_WRITE_TRAP",
                "IDLE_HLT",
                "NPF",
                "INVALID",
                "INVALID_PMC"
            ]
        );
    }

    #[test]
    fn invalid_has_32_or_64_bits() {
        for code in [u64::MAX, 0xffff_ffff] {
            assert!(ExitCode(code).is_invalid());
        }
        for code in [
            ExitCode::BUSY,
            ExitCode::INVALID_PMC,
            ExitCode(0xffff_fffe),
            ExitCode(0),
        ] {
            assert!(!code.is_invalid());
        }
    }

    #[test]
    fn an_unknown_code_is_shown_as_a_number() {
        for code in [0xa7, 0x3ff, 0x404, 0xf000_0000, 0xffff_ffff, u64::MAX - 4] {
            assert_eq!(ExitCode(code).name(), None);
            assert_eq!(ExitCode(code).to_string(), format!("UNKNOWN_{code:#x}"));
        }
    }

    #[test]
    fn numbers_come_back_inside_their_ranges_only() {
        assert_eq!(ExitCode::exception(31), ExitCode::EXCP_31);
        assert_eq!(ExitCode::EXCP_PF.exception_vector(), Some(14));
        assert_eq!(
            (ExitCode(0x3f).exception_vector(), ExitCode(0x60).exception_vector()),
            (None, None)
        );
        assert_eq!(ExitCode::CR4_WRITE.control_register(), Some(4));
        assert_eq!(ExitCode(0x1f).control_register(), Some(15));
        assert_eq!(ExitCode(0x20).control_register(), None);
        assert_eq!(
            (ExitCode(0x1f).debug_register(), ExitCode(0x40).debug_register()),
            (None, None)
        );
        assert_eq!(
            (ExitCode(0x20).debug_register(), ExitCode(0x37).debug_register()),
            (Some(0), Some(7))
        );
    }
}
