//! The control area, 000h-3FFh (appendix B, table B-1).

use core::mem::{offset_of, size_of};

use super::{
    CleanBits, EventInjection, IntState, InterruptControl, NestedControl, Rap, TlbControl, VirtualizationControl,
};
use crate::addr::{Asid, GuestPhys, HostPhys};
use crate::exit::ExitCode;
use crate::intercepts::{CrMask, DrMask, ExceptionIntercepts, Misc1, Misc2, Misc3};

/// The control area, 1024 bytes. Offsets are those of the whole VMCB.
#[repr(C)]
#[derive(Clone)]
pub struct Control {
    /// 000h, 16 bits: reads of CRn (15.8).
    pub intercept_cr_read: CrMask,
    /// 002h, 16 bits: writes of CRn (15.8).
    pub intercept_cr_write: CrMask,
    /// 004h, 16 bits: reads of DRn (15.8).
    pub intercept_dr_read: DrMask,
    /// 006h, 16 bits: writes of DRn (15.8).
    pub intercept_dr_write: DrMask,
    /// 008h, 32 bits: exception vectors (15.12).
    pub intercept_exceptions: ExceptionIntercepts,
    /// 00Ch, 32 bits: instructions and events of the first miscellaneous vector (15.9, 15.13).
    pub intercept_misc1: Misc1,
    /// 010h, 32 bits: the second, with VMRUN's own bit, which must be set (SVM-15.5.1-C-017).
    pub intercept_misc2: Misc2,
    /// 014h, 32 bits: the third.
    pub intercept_misc3: Misc3,
    reserved_018: [u8; 0x24],
    /// 03Ch, 16 bits: cycles between two PAUSEs of one loop (15.14.4).
    pub pause_filter_threshold: u16,
    /// 03Eh, 16 bits: PAUSEs before an intercepted one exits (15.14.4).
    pub pause_filter_count: u16,
    /// 040h, 64 bits: the I/O permission map; bits 11:0 are ignored (15.10, SVM-15.5.1-C-020, -021).
    pub iopm_base_pa: HostPhys,
    /// 048h, 64 bits: the MSR permission map; bits 11:0 are ignored (15.11, SVM-15.5.1-C-019, -021).
    pub msrpm_base_pa: HostPhys,
    /// 050h, 64 bits: added to what the guest reads from the TSC (SVM-15.5.1-035).
    pub tsc_offset: u64,
    /// 058h, 32 bits: the guest's address-space identifier, never 0 (SVM-15.5.1-C-022).
    pub guest_asid: Asid,
    /// 05Ch, 8 bits: what VMRUN flushes from the TLB (15.16.1).
    pub tlb_control: TlbControl,
    /// 05Dh, 8 bits: return-address predictor control.
    pub rap: Rap,
    reserved_05e: [u8; 2],
    /// 060h, 64 bits: virtual interrupts (15.21).
    pub interrupt: InterruptControl,
    /// 068h, 64 bits: interrupt shadow (15.21.5).
    pub int_state: IntState,
    /// 070h, 64 bits: why the guest stopped (appendix C, SVM-C-002).
    pub exit_code: ExitCode,
    /// 078h, 64 bits: EXITINFO1, its meaning is the exit code's (15.6).
    pub exit_info_1: u64,
    /// 080h, 64 bits: EXITINFO2, its meaning is the exit code's (15.6).
    pub exit_info_2: u64,
    /// 088h, 64 bits: EXITINTINFO, the event whose delivery was cut short (15.7.2).
    pub exit_int_info: EventInjection,
    /// 090h, 64 bits: nested paging and its kin (15.25.3).
    pub nested: NestedControl,
    /// 098h, 64 bits: guest-physical address of the virtual APIC page (15.29).
    pub avic_apic_bar: GuestPhys,
    /// 0A0h, 64 bits: guest-hypervisor communication block (15.35, SEV-ES only).
    pub ghcb: GuestPhys,
    /// 0A8h, 64 bits: EVENTINJ, the event to deliver on entry (15.20).
    pub event_injection: EventInjection,
    /// 0B0h, 64 bits: root of the nested page tables (SVM-15.25.4-001).
    pub n_cr3: HostPhys,
    /// 0B8h, 64 bits: LBR and VMLOAD/VMSAVE virtualization (15.23, 15.33).
    pub virtualization: VirtualizationControl,
    /// 0C0h, 32 bits: which groups of fields software left unchanged (15.15).
    pub clean: CleanBits,
    reserved_0c4: [u8; 4],
    /// 0C8h, 64 bits: address of the next instruction, with NRIPS (15.7.1).
    pub next_rip: u64,
    /// 0D0h, 8 bits: number of valid bytes in `instruction_bytes`, with decode assists (15.8.4).
    pub bytes_fetched: u8,
    /// 0D1h, 15 bytes: the guest's instruction, with decode assists (15.8.4).
    pub instruction_bytes: [u8; 15],
    /// 0E0h, 64 bits: the AVIC backing page (15.29).
    pub avic_backing_page: HostPhys,
    reserved_0e8: [u8; 8],
    /// 0F0h, 64 bits: the AVIC logical table (15.29).
    pub avic_logical_table: HostPhys,
    /// 0F8h, 64 bits: the AVIC physical table and its greatest index (15.29).
    pub avic_physical_table: AvicPhysicalTable,
    reserved_100: [u8; 0x20],
    /// 120h, 16 bits: bus locks left before VMEXIT_BUSLOCK (15.14.5).
    pub bus_lock_counter: u16,
    reserved_122: [u8; 0x2be],
    /// 3E0h, 32 bytes: for the hypervisor's own use, never read by the processor (SVM-B-003).
    pub host_software: [u8; 0x20],
}

macro_rules! offsets {
    ($($field:ident = $offset:literal),* $(,)?) => {
        $(const _: () = assert!(offset_of!(Control, $field) == $offset);)*
    };
}

// Appendix B, table B-1.
offsets! {
    intercept_cr_read = 0x000, intercept_cr_write = 0x002, intercept_dr_read = 0x004, intercept_dr_write = 0x006,
    intercept_exceptions = 0x008, intercept_misc1 = 0x00c, intercept_misc2 = 0x010, intercept_misc3 = 0x014,
    reserved_018 = 0x018, pause_filter_threshold = 0x03c, pause_filter_count = 0x03e, iopm_base_pa = 0x040,
    msrpm_base_pa = 0x048, tsc_offset = 0x050, guest_asid = 0x058, tlb_control = 0x05c, rap = 0x05d,
    reserved_05e = 0x05e, interrupt = 0x060, int_state = 0x068, exit_code = 0x070, exit_info_1 = 0x078,
    exit_info_2 = 0x080, exit_int_info = 0x088, nested = 0x090, avic_apic_bar = 0x098, ghcb = 0x0a0,
    event_injection = 0x0a8, n_cr3 = 0x0b0, virtualization = 0x0b8, clean = 0x0c0, reserved_0c4 = 0x0c4,
    next_rip = 0x0c8, bytes_fetched = 0x0d0, instruction_bytes = 0x0d1, avic_backing_page = 0x0e0,
    reserved_0e8 = 0x0e8, avic_logical_table = 0x0f0, avic_physical_table = 0x0f8, reserved_100 = 0x100,
    bus_lock_counter = 0x120, reserved_122 = 0x122, host_software = 0x3e0,
}
const _: () = assert!(size_of::<Control>() == 0x400);

impl Control {
    /// The instruction bytes that the processor delivered with the exit (15.8.4); empty without decode assists.
    #[must_use]
    pub fn instruction(&self) -> &[u8] {
        let length = usize::from(self.bytes_fetched & 0xf);
        &self.instruction_bytes[..length]
    }
}

/// AVIC_PHYSICAL_TABLE, 64 bits: 51:12 the table's page, 11:0 the greatest index (15.29).
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AvicPhysicalTable(pub u64);

impl AvicPhysicalTable {
    /// Bits 11:0: the greatest valid index, at most 255 for xAVIC and 511 for x2AVIC (SVM-15.29-006).
    #[must_use]
    pub const fn max_index(self) -> u16 {
        (self.0 & 0xfff) as u16
    }

    /// Bits 51:12: where the table is.
    #[must_use]
    pub const fn table(self) -> HostPhys {
        HostPhys(self.0 & 0x000f_ffff_ffff_f000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vmcb::Vmcb;

    #[test]
    fn instruction_bytes_end_where_the_count_says() {
        let mut vmcb = Box::new(Vmcb::zeroed());
        vmcb.control.instruction_bytes = [0xaa; 15];
        assert!(vmcb.control.instruction().is_empty());
        vmcb.control.bytes_fetched = 15;
        assert_eq!(vmcb.control.instruction().len(), 15);
        vmcb.control.bytes_fetched = 0xf3;
        assert_eq!(vmcb.control.instruction().len(), 3);
    }

    #[test]
    fn the_avic_table_splits_at_bit_12() {
        let field = AvicPhysicalTable(0xfff0_0000_1234_51ff);
        assert_eq!(field.max_index(), 511);
        assert_eq!(field.table(), HostPhys(0x1234_5000));
    }
}
