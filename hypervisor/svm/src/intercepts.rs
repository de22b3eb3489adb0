//! Intercept vectors (15.8, 15.9, 15.12 to 15.14): a set bit turns the event into a #VMEXIT whose exit code is the
//! bit's position counted from the start of the VMCB (SVM-C-001).

use bitflags::bitflags;

bitflags! {
    /// Reads (VMCB 000h) or writes (002h) of control registers, 16 bits: bit n is CRn.
    #[repr(transparent)]
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct CrMask: u16 {
        /// Bit 0.
        const CR0 = 1 << 0;
        /// Bit 2.
        const CR2 = 1 << 2;
        /// Bit 3.
        const CR3 = 1 << 3;
        /// Bit 4.
        const CR4 = 1 << 4;
        /// Bit 8: the task priority.
        const CR8 = 1 << 8;
        const _ = !0;
    }
}

bitflags! {
    /// Reads (VMCB 004h) or writes (006h) of debug registers, 16 bits: bit n is DRn.
    #[repr(transparent)]
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct DrMask: u16 {
        /// Bit 0.
        const DR0 = 1 << 0;
        /// Bit 1.
        const DR1 = 1 << 1;
        /// Bit 2.
        const DR2 = 1 << 2;
        /// Bit 3.
        const DR3 = 1 << 3;
        /// Bit 6.
        const DR6 = 1 << 6;
        /// Bit 7.
        const DR7 = 1 << 7;
        const _ = !0;
    }
}

bitflags! {
    /// Exceptions, 32 bits (VMCB 008h, 15.12): bit n is vector n.
    #[repr(transparent)]
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct ExceptionIntercepts: u32 {
        /// Vector 0: divide error.
        const DE = 1 << 0;
        /// Vector 1: debug.
        const DB = 1 << 1;
        /// Vector 3: breakpoint.
        const BP = 1 << 3;
        /// Vector 4: overflow.
        const OF = 1 << 4;
        /// Vector 5: bound range.
        const BR = 1 << 5;
        /// Vector 6: invalid opcode.
        const UD = 1 << 6;
        /// Vector 7: device not available.
        const NM = 1 << 7;
        /// Vector 8: double fault.
        const DF = 1 << 8;
        /// Vector 10: invalid TSS.
        const TS = 1 << 10;
        /// Vector 11: segment not present.
        const NP = 1 << 11;
        /// Vector 12: stack.
        const SS = 1 << 12;
        /// Vector 13: general protection.
        const GP = 1 << 13;
        /// Vector 14: page fault.
        const PF = 1 << 14;
        /// Vector 16: x87 error.
        const MF = 1 << 16;
        /// Vector 17: alignment check.
        const AC = 1 << 17;
        /// Vector 18: machine check.
        const MC = 1 << 18;
        /// Vector 19: SIMD error.
        const XF = 1 << 19;
        /// Vector 21: control protection.
        const CP = 1 << 21;
        /// Vector 28: hypervisor injection.
        const HV = 1 << 28;
        /// Vector 29: VMM communication.
        const VC = 1 << 29;
        /// Vector 30: security.
        const SX = 1 << 30;
        const _ = !0;
    }
}

bitflags! {
    /// The first miscellaneous vector, 32 bits (VMCB 00Ch): exit codes 60h to 7Fh.
    #[repr(transparent)]
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Misc1: u32 {
        /// Bit 0: physical interrupts (15.13.1).
        const INTR = 1 << 0;
        /// Bit 1: NMI (15.13.2).
        const NMI = 1 << 1;
        /// Bit 2: SMI (15.13.3).
        const SMI = 1 << 2;
        /// Bit 3: INIT (15.13.4).
        const INIT = 1 << 3;
        /// Bit 4: virtual interrupts (15.13.5).
        const VINTR = 1 << 4;
        /// Bit 5: CR0 writes that change more than TS and MP.
        const CR0_SEL_WRITE = 1 << 5;
        /// Bit 6: SIDT.
        const IDTR_READ = 1 << 6;
        /// Bit 7: SGDT.
        const GDTR_READ = 1 << 7;
        /// Bit 8: SLDT.
        const LDTR_READ = 1 << 8;
        /// Bit 9: STR.
        const TR_READ = 1 << 9;
        /// Bit 10: LIDT.
        const IDTR_WRITE = 1 << 10;
        /// Bit 11: LGDT.
        const GDTR_WRITE = 1 << 11;
        /// Bit 12: LLDT.
        const LDTR_WRITE = 1 << 12;
        /// Bit 13: LTR.
        const TR_WRITE = 1 << 13;
        /// Bit 14: RDTSC.
        const RDTSC = 1 << 14;
        /// Bit 15: RDPMC.
        const RDPMC = 1 << 15;
        /// Bit 16: PUSHF.
        const PUSHF = 1 << 16;
        /// Bit 17: POPF.
        const POPF = 1 << 17;
        /// Bit 18: CPUID.
        const CPUID = 1 << 18;
        /// Bit 19: RSM.
        const RSM = 1 << 19;
        /// Bit 20: IRET.
        const IRET = 1 << 20;
        /// Bit 21: INTn.
        const SWINT = 1 << 21;
        /// Bit 22: INVD.
        const INVD = 1 << 22;
        /// Bit 23: PAUSE (15.14.4).
        const PAUSE = 1 << 23;
        /// Bit 24: HLT.
        const HLT = 1 << 24;
        /// Bit 25: INVLPG.
        const INVLPG = 1 << 25;
        /// Bit 26: INVLPGA.
        const INVLPGA = 1 << 26;
        /// Bit 27: IN and OUT, as the I/O map says (SVM-15.10-001).
        const IOIO_PROT = 1 << 27;
        /// Bit 28: RDMSR and WRMSR, as the MSR map says (SVM-15.11-001).
        const MSR_PROT = 1 << 28;
        /// Bit 29: task switches (15.14.1).
        const TASK_SWITCH = 1 << 29;
        /// Bit 30: processor freezing in legacy FERR mode (15.14.2).
        const FERR_FREEZE = 1 << 30;
        /// Bit 31: shutdown (15.14.3).
        const SHUTDOWN = 1 << 31;
    }
}

bitflags! {
    /// The second miscellaneous vector, 32 bits (VMCB 010h): exit codes 80h to 9Fh.
    #[repr(transparent)]
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Misc2: u32 {
        /// Bit 0: VMRUN; must be set (SVM-15.5.1-C-017, -C-018).
        const VMRUN = 1 << 0;
        /// Bit 1: VMMCALL; #UD in the guest if clear.
        const VMMCALL = 1 << 1;
        /// Bit 2: VMLOAD.
        const VMLOAD = 1 << 2;
        /// Bit 3: VMSAVE.
        const VMSAVE = 1 << 3;
        /// Bit 4: STGI.
        const STGI = 1 << 4;
        /// Bit 5: CLGI.
        const CLGI = 1 << 5;
        /// Bit 6: SKINIT.
        const SKINIT = 1 << 6;
        /// Bit 7: RDTSCP.
        const RDTSCP = 1 << 7;
        /// Bit 8: ICEBP.
        const ICEBP = 1 << 8;
        /// Bit 9: WBINVD and WBNOINVD.
        const WBINVD = 1 << 9;
        /// Bit 10: MONITOR and MONITORX.
        const MONITOR = 1 << 10;
        /// Bit 11: MWAIT and MWAITX.
        const MWAIT = 1 << 11;
        /// Bit 12: MWAIT with the monitor armed.
        const MWAIT_CONDITIONAL = 1 << 12;
        /// Bit 13: XSETBV.
        const XSETBV = 1 << 13;
        /// Bit 14: RDPRU.
        const RDPRU = 1 << 14;
        /// Bit 15: after a write of EFER.
        const EFER_WRITE_TRAP = 1 << 15;
        /// Bit 16: after a write of CR0.
        const CR0_WRITE_TRAP = 1 << 16;
        /// Bit 19: after a write of CR3.
        const CR3_WRITE_TRAP = 1 << 19;
        /// Bit 20: after a write of CR4.
        const CR4_WRITE_TRAP = 1 << 20;
        /// Bit 24: after a write of CR8.
        const CR8_WRITE_TRAP = 1 << 24;
        const _ = !0;
    }
}

bitflags! {
    /// The third miscellaneous vector, 32 bits (VMCB 014h): exit codes A0h to A6h.
    #[repr(transparent)]
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Misc3: u32 {
        /// Bit 0: INVLPGB.
        const INVLPGB = 1 << 0;
        /// Bit 1: INVLPGB with an operand that the guest may not use.
        const INVLPGB_ILLEGAL = 1 << 1;
        /// Bit 2: INVPCID.
        const INVPCID = 1 << 2;
        /// Bit 3: MCOMMIT.
        const MCOMMIT = 1 << 3;
        /// Bit 4: TLBSYNC.
        const TLBSYNC = 1 << 4;
        /// Bit 5: bus locks (15.14.5).
        const BUSLOCK = 1 << 5;
        /// Bit 6: HLT while no virtual interrupt is pending.
        const IDLE_HLT = 1 << 6;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::ExitCode;

    /// The exit code of a flag is its position from VMCB 000h (SVM-C-001), and it has the flag's name.
    fn agrees<F: bitflags::Flags<Bits = u32>>(first_code: u64) {
        for flag in F::FLAGS.iter().filter(|flag| flag.is_named()) {
            let code = ExitCode(first_code + u64::from(flag.value().bits().trailing_zeros()));
            let name = flag.name().trim_end_matches("_PROT");
            assert_eq!(code.name().expect("named").to_string(), name, "{code:?}");
        }
    }

    #[test]
    fn exit_codes_follow_the_bits() {
        agrees::<Misc1>(0x60);
        agrees::<Misc2>(0x80);
        agrees::<Misc3>(0xa0);
        for flag in <ExceptionIntercepts as bitflags::Flags>::FLAGS
            .iter()
            .filter(|flag| flag.is_named())
        {
            let code = ExitCode(0x40 + u64::from(flag.value().bits().trailing_zeros()));
            assert_eq!(code.to_string(), format!("EXCP_{}", flag.name()));
        }
    }

    #[test]
    fn register_masks_hold_any_register() {
        assert_eq!(CrMask::all().bits(), 0xffff);
        assert_eq!(DrMask::all().bits(), 0xffff);
        assert_eq!(CrMask::CR8.bits(), 0x100);
    }
}
