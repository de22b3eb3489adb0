//! Model-specific registers of SVM (15.30) and those that a hypervisor moves for its guest (volume 2, appendix A).

use bitflags::bitflags;

/// TSC: the time-stamp counter; a guest reads it with VMCB 050h added.
pub const TSC: u32 = 0x10;
/// APIC_BASE: where the local APIC is, and whether (16.3.1).
pub const APIC_BASE: u32 = 0x1b;
/// SYSENTER_CS: code selector of SYSENTER.
pub const SYSENTER_CS: u32 = 0x174;
/// SYSENTER_ESP: stack of SYSENTER.
pub const SYSENTER_ESP: u32 = 0x175;
/// SYSENTER_EIP: target of SYSENTER.
pub const SYSENTER_EIP: u32 = 0x176;
/// DebugCtl: last-branch and single-step control.
pub const DEBUG_CTL: u32 = 0x1d9;
/// DebugCtl and LastBranchFromIP, LastBranchToIP, LastIntFromIP, LastIntToIP: what LBR virtualization moves (15.23).
pub const BRANCH_RECORDS: [u32; 5] = [DEBUG_CTL, 0x1db, 0x1dc, 0x1dd, 0x1de];
/// PAT: memory types of pages (7.8); replicated for a guest with nested paging (SVM-15.25.2-004).
pub const PAT: u32 = 0x277;
/// EFER, see [`crate::regs::Efer`].
pub const EFER: u32 = 0xc000_0080;
/// STAR: selectors of SYSCALL and SYSRET.
pub const STAR: u32 = 0xc000_0081;
/// LSTAR: 64-bit target of SYSCALL.
pub const LSTAR: u32 = 0xc000_0082;
/// CSTAR: compatibility-mode target of SYSCALL.
pub const CSTAR: u32 = 0xc000_0083;
/// SFMASK: RFLAGS bits that SYSCALL clears.
pub const SFMASK: u32 = 0xc000_0084;
/// FS.base.
pub const FS_BASE: u32 = 0xc000_0100;
/// GS.base.
pub const GS_BASE: u32 = 0xc000_0101;
/// KernelGSbase: what SWAPGS exchanges with GS.base.
pub const KERNEL_GS_BASE: u32 = 0xc000_0102;
/// HWCR, bit 0 SmmLock: what configures SMM cannot be written (15.32).
pub const HWCR: u32 = 0xc001_0015;
/// TSC_RATIO, 40 bits: 8.32 fixed point (15.30.5).
pub const TSC_RATIO: u32 = 0xc000_0104;
/// SMM_MASK: which memory is SMM's (10.2.5).
pub const SMM_MASK: u32 = 0xc001_0113;
/// VM_CR, see [`VmCr`] (15.30.1).
pub const VM_CR: u32 = 0xc001_0114;
/// IGNNE, bit 0 (15.30.2).
pub const IGNNE: u32 = 0xc001_0115;
/// SMM_CTL, see [`SmmCtl`] (15.30.3).
pub const SMM_CTL: u32 = 0xc001_0116;
/// VM_HSAVE_PA, 64 bits: the host save area's page (15.30.4, SVM-15.5.1-007).
pub const VM_HSAVE_PA: u32 = 0xc001_0117;
/// SVM_KEY, 64 bits, write-only: unlocks VM_CR.LOCK (15.31).
pub const SVM_KEY: u32 = 0xc001_0118;
/// SMM_KEY, 64 bits, write-only: unlocks HWCR.SmmLock (15.32).
pub const SMM_KEY: u32 = 0xc001_0119;

bitflags! {
    /// VM_CR, MSR C001_0114h, 64 bits of which 63:5 are MBZ (15.30.1, SVM-15.30.1-001).
    #[repr(transparent)]
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct VmCr: u64 {
        /// Bit 0: disable external debug features.
        const DPD = 1 << 0;
        /// Bit 1: turn INIT into #SX (SVM-15.30.1-008).
        const R_INIT = 1 << 1;
        /// Bit 2: disable A20 masking (SVM-15.30.1-009).
        const DIS_A20M = 1 << 2;
        /// Bit 3: LOCK and SVMDIS cannot be written (SVM-15.30.1-004).
        const LOCK = 1 << 3;
        /// Bit 4: EFER.SVME cannot be set (SVM-15.30.1-002).
        const SVMDIS = 1 << 4;
    }
}

bitflags! {
    /// SMM_CTL, MSR C001_0116h, 64 bits, write-only (15.30.3, SVM-15.30.3-001).
    #[repr(transparent)]
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct SmmCtl: u64 {
        /// Bit 0: clear the processor-internal "SMI pending".
        const DISMISS = 1 << 0;
        /// Bit 1: enter SMM.
        const ENTER = 1 << 1;
        /// Bit 2: send the SMI special cycle.
        const SMI_CYCLE = 1 << 2;
        /// Bit 3: leave SMM.
        const EXIT = 1 << 3;
        /// Bit 4: send the RSM special cycle.
        const RSM_CYCLE = 1 << 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vm_cr_has_five_bits() {
        assert_eq!(VmCr::all().bits(), 0x1f);
        assert_eq!(VmCr::LOCK | VmCr::SVMDIS, VmCr::from_bits_retain(0x18));
        assert_eq!(SmmCtl::all().bits(), 0x1f);
    }
}
