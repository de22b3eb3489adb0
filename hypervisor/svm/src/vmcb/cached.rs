//! What a processor may keep of a VMCB from one VMRUN to the next, by clean bit (15.15.3).

use super::{AvicPhysicalTable, CleanBits, DescriptorTable, InterruptControl, NestedControl, Segment};
use super::{VirtualizationControl, Vmcb};
use crate::addr::{Asid, GuestPhys, HostPhys};
use crate::intercepts::{CrMask, DrMask, ExceptionIntercepts, Misc1, Misc2, Misc3};
use crate::regs::{Cr0, Cr4, Efer};

/// A copy of the fields that clean bits are about. Made after a #VMEXIT and compared before the next VMRUN of that VMCB it
/// tells which bits may be set; so no handler can forget to clear one.
#[derive(Clone, Debug)]
pub struct Cached {
    access: (CrMask, CrMask, DrMask, DrMask),
    intercepts: (ExceptionIntercepts, Misc1, Misc2, Misc3),
    tsc_and_pause: (u64, u16, u16),
    permission_maps: (HostPhys, HostPhys),
    asid: Asid,
    interrupt: InterruptControl,
    nested: (NestedControl, HostPhys, u64),
    control_registers: (Cr0, u64, Cr4, Efer),
    debug_registers: (u64, u64),
    descriptor_tables: (DescriptorTable, DescriptorTable),
    segments: ([Segment; 4], u8),
    cr2: u64,
    lbr: (VirtualizationControl, [u64; 5]),
    avic: (GuestPhys, HostPhys, HostPhys, AvicPhysicalTable),
    cet: [u64; 3],
}

impl Cached {
    /// What is in a VMCB.
    #[must_use]
    pub const fn of(vmcb: &Vmcb) -> Self {
        let (control, save) = (&vmcb.control, &vmcb.save);
        Self {
            access: (
                control.intercept_cr_read,
                control.intercept_cr_write,
                control.intercept_dr_read,
                control.intercept_dr_write,
            ),
            intercepts: (
                control.intercept_exceptions,
                control.intercept_misc1,
                control.intercept_misc2,
                control.intercept_misc3,
            ),
            tsc_and_pause: (
                control.tsc_offset,
                control.pause_filter_count,
                control.pause_filter_threshold,
            ),
            permission_maps: (control.iopm_base_pa, control.msrpm_base_pa),
            asid: control.guest_asid,
            interrupt: control.interrupt,
            nested: (control.nested, control.n_cr3, save.g_pat),
            control_registers: (save.cr0, save.cr3, save.cr4, save.efer),
            debug_registers: (save.dr6, save.dr7),
            descriptor_tables: (save.gdtr, save.idtr),
            segments: ([save.cs, save.ds, save.ss, save.es], save.cpl),
            cr2: save.cr2,
            lbr: (
                control.virtualization,
                [
                    save.dbgctl,
                    save.br_from,
                    save.br_to,
                    save.last_excp_from,
                    save.last_excp_to,
                ],
            ),
            avic: (
                control.avic_apic_bar,
                control.avic_backing_page,
                control.avic_logical_table,
                control.avic_physical_table,
            ),
            cet: [save.s_cet, save.ssp, save.isst_addr],
        }
    }

    /// The clean bits of the groups in which nothing differs; bits without a name stay 0 (SVM-15.15-020).
    #[must_use]
    pub fn unchanged(&self, since: &Self) -> CleanBits {
        let same = [
            (
                CleanBits::INTERCEPTS,
                self.access == since.access
                    && self.intercepts == since.intercepts
                    && self.tsc_and_pause == since.tsc_and_pause,
            ),
            (
                CleanBits::PERMISSION_MAPS,
                self.permission_maps == since.permission_maps,
            ),
            (CleanBits::ASID, self.asid == since.asid),
            (CleanBits::TPR, self.interrupt == since.interrupt),
            (CleanBits::NESTED, self.nested == since.nested),
            (
                CleanBits::CONTROL_REGISTERS,
                self.control_registers == since.control_registers,
            ),
            (
                CleanBits::DEBUG_REGISTERS,
                self.debug_registers == since.debug_registers,
            ),
            (
                CleanBits::DESCRIPTOR_TABLES,
                self.descriptor_tables == since.descriptor_tables,
            ),
            (CleanBits::SEGMENTS, self.segments == since.segments),
            (CleanBits::CR2, self.cr2 == since.cr2),
            (CleanBits::LBR, self.lbr == since.lbr),
            (CleanBits::AVIC, self.avic == since.avic),
            (CleanBits::CET, self.cet == since.cet),
        ];
        same.into_iter().filter_map(|(bit, same)| same.then_some(bit)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where each group's fields are: first and last byte (15.15.3 with appendix B).
    const GROUPS: &[(CleanBits, &[(usize, usize)])] = &[
        (CleanBits::INTERCEPTS, &[(0x000, 0x017), (0x03c, 0x03f), (0x050, 0x057)]),
        (CleanBits::PERMISSION_MAPS, &[(0x040, 0x04f)]),
        (CleanBits::ASID, &[(0x058, 0x05b)]),
        (CleanBits::TPR, &[(0x060, 0x067)]),
        (CleanBits::NESTED, &[(0x090, 0x097), (0x0b0, 0x0b7), (0x668, 0x66f)]),
        (CleanBits::CONTROL_REGISTERS, &[(0x4d0, 0x4d7), (0x548, 0x55f)]),
        (CleanBits::DEBUG_REGISTERS, &[(0x560, 0x56f)]),
        (CleanBits::DESCRIPTOR_TABLES, &[(0x464, 0x46f), (0x484, 0x48f)]),
        (CleanBits::SEGMENTS, &[(0x400, 0x43f), (0x4cb, 0x4cb)]),
        (CleanBits::CR2, &[(0x640, 0x647)]),
        (CleanBits::LBR, &[(0x0b8, 0x0bf), (0x670, 0x697)]),
        (CleanBits::AVIC, &[(0x098, 0x09f), (0x0e0, 0x0e7), (0x0f0, 0x0ff)]),
        (CleanBits::CET, &[(0x5e0, 0x5f7)]),
    ];

    fn expected(byte: usize) -> CleanBits {
        let holds = |spans: &[(usize, usize)]| spans.iter().any(|&(first, last)| (first..=last).contains(&byte));
        let changed = GROUPS.iter().filter(|(_, spans)| holds(spans));
        CleanBits::all() - changed.map(|&(bit, _)| bit).collect::<CleanBits>()
    }

    #[test]
    fn every_byte_clears_the_bit_of_its_group_and_no_other() {
        let before = Box::new(Vmcb::zeroed());
        let kept = Cached::of(&before);
        for byte in 0..size_of::<Vmcb>() {
            let mut after = before.clone();
            // SAFETY: the byte is in the VMCB, whose fields accept any value.
            unsafe { (&raw mut *after).cast::<u8>().add(byte).write(0x80) };
            // Selectors and attributes of GDTR and IDTR are none of the processor's.
            let tables = [0x460..0x464, 0x480..0x484];
            if !tables.iter().any(|span| span.contains(&byte)) {
                assert_eq!(Cached::of(&after).unchanged(&kept), expected(byte), "byte {byte:#x}");
            }
        }
    }
}
