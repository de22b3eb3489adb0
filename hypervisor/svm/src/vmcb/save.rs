//! The state-save area, 400h-FFFh (appendix B, table B-2, for guests without encrypted state).

use core::mem::{offset_of, size_of};

use super::{DescriptorTable, Segment};
use crate::regs::{Cr0, Cr4, Efer, Rflags};

/// The state-save area, 3072 bytes. Offsets count from 400h. "VMLOAD" marks what VMRUN and #VMEXIT leave alone
/// (SVM-15.5.1-016).
#[repr(C)]
#[derive(Clone)]
pub struct SaveArea {
    /// 000h.
    pub es: Segment,
    /// 010h.
    pub cs: Segment,
    /// 020h.
    pub ss: Segment,
    /// 030h.
    pub ds: Segment,
    /// 040h, VMLOAD.
    pub fs: Segment,
    /// 050h, VMLOAD.
    pub gs: Segment,
    /// 060h.
    pub gdtr: DescriptorTable,
    /// 070h, VMLOAD.
    pub ldtr: Segment,
    /// 080h.
    pub idtr: DescriptorTable,
    /// 090h, VMLOAD.
    pub tr: Segment,
    reserved_0a0: [u8; 0x2b],
    /// 0CBh, 8 bits: forced to 0 in real mode and to 3 in virtual-8086 mode (SVM-15.5.1-028 to -030).
    pub cpl: u8,
    reserved_0cc: [u8; 4],
    /// 0D0h, 64 bits (SVM-15.5.1-C-001, -C-010).
    pub efer: Efer,
    reserved_0d8: [u8; 0x70],
    /// 148h, 64 bits (SVM-15.5.1-C-007).
    pub cr4: Cr4,
    /// 150h, 64 bits (SVM-15.5.1-C-005).
    pub cr3: u64,
    /// 158h, 64 bits (SVM-15.5.1-C-002, -C-004).
    pub cr0: Cr0,
    /// 160h, 64 bits (SVM-15.5.1-C-009).
    pub dr7: u64,
    /// 168h, 64 bits (SVM-15.5.1-C-008).
    pub dr6: u64,
    /// 170h, 64 bits.
    pub rflags: Rflags,
    /// 178h, 64 bits.
    pub rip: u64,
    reserved_180: [u8; 0x58],
    /// 1D8h, 64 bits.
    pub rsp: u64,
    /// 1E0h, 64 bits: shadow stacks (SVM-15.5.1-C-024).
    pub s_cet: u64,
    /// 1E8h, 64 bits: shadow-stack pointer.
    pub ssp: u64,
    /// 1F0h, 64 bits: interrupt shadow-stack table.
    pub isst_addr: u64,
    /// 1F8h, 64 bits: the only general register that VMRUN moves, with RSP (SVM-15.5.1-020).
    pub rax: u64,
    /// 200h, 64 bits, VMLOAD.
    pub star: u64,
    /// 208h, 64 bits, VMLOAD.
    pub lstar: u64,
    /// 210h, 64 bits, VMLOAD.
    pub cstar: u64,
    /// 218h, 64 bits, VMLOAD.
    pub sfmask: u64,
    /// 220h, 64 bits, VMLOAD.
    pub kernel_gs_base: u64,
    /// 228h, 64 bits, VMLOAD.
    pub sysenter_cs: u64,
    /// 230h, 64 bits, VMLOAD.
    pub sysenter_esp: u64,
    /// 238h, 64 bits, VMLOAD.
    pub sysenter_eip: u64,
    /// 240h, 64 bits.
    pub cr2: u64,
    reserved_248: [u8; 0x20],
    /// 268h, 64 bits: the guest's PAT, with nested paging only (SVM-15.25.4-002, -003).
    pub g_pat: u64,
    /// 270h, 64 bits: DebugCtl, with LBR virtualization (15.23).
    pub dbgctl: u64,
    /// 278h, 64 bits, LBR virtualization.
    pub br_from: u64,
    /// 280h, 64 bits, LBR virtualization.
    pub br_to: u64,
    /// 288h, 64 bits, LBR virtualization.
    pub last_excp_from: u64,
    /// 290h, 64 bits, LBR virtualization.
    pub last_excp_to: u64,
    /// 298h, 64 bits: DbgExtnCtl, LBR stack.
    pub dbg_extn_ctl: u64,
    reserved_2a0: [u8; 0x40],
    /// 2E0h, 64 bits: SPEC_CTRL, with its virtualization (15.37).
    pub spec_ctrl: u64,
    reserved_2e8: [u8; 0x918],
}

macro_rules! offsets {
    ($($field:ident = $offset:literal),* $(,)?) => {
        $(const _: () = assert!(offset_of!(SaveArea, $field) == $offset);)*
    };
}

// Appendix B, table B-2.
offsets! {
    es = 0x000, cs = 0x010, ss = 0x020, ds = 0x030, fs = 0x040, gs = 0x050, gdtr = 0x060, ldtr = 0x070,
    idtr = 0x080, tr = 0x090, reserved_0a0 = 0x0a0, cpl = 0x0cb, reserved_0cc = 0x0cc, efer = 0x0d0,
    reserved_0d8 = 0x0d8, cr4 = 0x148, cr3 = 0x150, cr0 = 0x158, dr7 = 0x160, dr6 = 0x168, rflags = 0x170,
    rip = 0x178, reserved_180 = 0x180, rsp = 0x1d8, s_cet = 0x1e0, ssp = 0x1e8, isst_addr = 0x1f0, rax = 0x1f8,
    star = 0x200, lstar = 0x208, cstar = 0x210, sfmask = 0x218, kernel_gs_base = 0x220, sysenter_cs = 0x228,
    sysenter_esp = 0x230, sysenter_eip = 0x238, cr2 = 0x240, reserved_248 = 0x248, g_pat = 0x268, dbgctl = 0x270,
    br_from = 0x278, br_to = 0x280, last_excp_from = 0x288, last_excp_to = 0x290, dbg_extn_ctl = 0x298,
    reserved_2a0 = 0x2a0, spec_ctrl = 0x2e0, reserved_2e8 = 0x2e8,
}
const _: () = assert!(size_of::<SaveArea>() == 0xc00);
