//! The guest's control and debug registers (15.5.1).

use super::{Host, Rule, Violation, invalid};
use crate::addr::fits;
use crate::regs::{Cr0, Cr4, Efer, long_mode};
use crate::vmcb::{Attributes, Vmcb};

pub(super) const RULES: &[Rule] = &[
    efer_svme,
    cr0_nw_without_cd,
    cr0_high,
    cr3_mbz,
    cr4_mbz,
    dr6_high,
    dr7_high,
    efer_mbz,
    efer_long_mode,
    long_mode_without_pae,
    long_mode_without_pe,
    cs_l_and_d,
    s_cet_mbz,
    cet_without_wp,
];

/// SVM-15.5.1-C-001.
fn efer_svme(vmcb: &Vmcb, _: &Host) -> Option<Violation> {
    let efer = vmcb.save.efer;
    invalid(
        !efer.contains(Efer::SVME),
        "SVM-15.5.1-C-001",
        "EFER",
        efer.bits(),
        "SVME is 0",
    )
}

/// SVM-15.5.1-C-002; every other combination is legal (-C-003).
fn cr0_nw_without_cd(vmcb: &Vmcb, _: &Host) -> Option<Violation> {
    let cr0 = vmcb.save.cr0;
    let broken = cr0.contains(Cr0::NW) && !cr0.contains(Cr0::CD);
    invalid(broken, "SVM-15.5.1-C-002", "CR0", cr0.bits(), "NW is 1 while CD is 0")
}

/// SVM-15.5.1-C-004.
fn cr0_high(vmcb: &Vmcb, _: &Host) -> Option<Violation> {
    let cr0 = vmcb.save.cr0.bits();
    invalid(!fits(cr0, 32), "SVM-15.5.1-C-004", "CR0", cr0, "bits 63:32 are not 0")
}

/// SVM-15.5.1-C-005. Outside long mode, and below the address width, CR3 has no bit that must be 0 (-C-006).
fn cr3_mbz(vmcb: &Vmcb, host: &Host) -> Option<Violation> {
    let broken = long_mode(vmcb.save.cr0, vmcb.save.efer) && !fits(vmcb.save.cr3, host.physical_bits);
    let why = "at or above the maximum physical address, in long mode";
    invalid(broken, "SVM-15.5.1-C-005", "CR3", vmcb.save.cr3, why)
}

/// SVM-15.5.1-C-007.
fn cr4_mbz(vmcb: &Vmcb, host: &Host) -> Option<Violation> {
    let cr4 = vmcb.save.cr4;
    let broken = cr4.bits() & !host.cr4.bits() != 0;
    invalid(
        broken,
        "SVM-15.5.1-C-007",
        "CR4",
        cr4.bits(),
        "a bit that this processor lacks is 1",
    )
}

/// SVM-15.5.1-C-008.
fn dr6_high(vmcb: &Vmcb, _: &Host) -> Option<Violation> {
    let dr6 = vmcb.save.dr6;
    invalid(!fits(dr6, 32), "SVM-15.5.1-C-008", "DR6", dr6, "bits 63:32 are not 0")
}

/// SVM-15.5.1-C-009.
fn dr7_high(vmcb: &Vmcb, _: &Host) -> Option<Violation> {
    let dr7 = vmcb.save.dr7;
    invalid(!fits(dr7, 32), "SVM-15.5.1-C-009", "DR7", dr7, "bits 63:32 are not 0")
}

/// SVM-15.5.1-C-010. LME and LMA have a rule of their own (-C-011), and so has a missing SVME (-C-001).
fn efer_mbz(vmcb: &Vmcb, host: &Host) -> Option<Violation> {
    let efer = vmcb.save.efer;
    let broken = efer.bits() & !(host.efer | Efer::LME | Efer::LMA).bits() != 0;
    invalid(
        broken,
        "SVM-15.5.1-C-010",
        "EFER",
        efer.bits(),
        "a bit that this processor lacks is 1",
    )
}

/// SVM-15.5.1-C-011.
fn efer_long_mode(vmcb: &Vmcb, host: &Host) -> Option<Violation> {
    let efer = vmcb.save.efer;
    let broken = efer.intersects(Efer::LME | Efer::LMA) && !host.has_long_mode();
    invalid(
        broken,
        "SVM-15.5.1-C-011",
        "EFER",
        efer.bits(),
        "LME or LMA is 1 without long mode",
    )
}

/// SVM-15.5.1-C-012.
fn long_mode_without_pae(vmcb: &Vmcb, _: &Host) -> Option<Violation> {
    let save = &vmcb.save;
    let broken = long_mode(save.cr0, save.efer) && !save.cr4.contains(Cr4::PAE);
    invalid(
        broken,
        "SVM-15.5.1-C-012",
        "CR4",
        save.cr4.bits(),
        "PAE is 0 while EFER.LME and CR0.PG are 1",
    )
}

/// SVM-15.5.1-C-013. Without LME, PG without PE is legal (-C-027).
fn long_mode_without_pe(vmcb: &Vmcb, _: &Host) -> Option<Violation> {
    let save = &vmcb.save;
    let broken = long_mode(save.cr0, save.efer) && !save.cr0.contains(Cr0::PE);
    invalid(
        broken,
        "SVM-15.5.1-C-013",
        "CR0",
        save.cr0.bits(),
        "PE is 0 while EFER.LME and CR0.PG are 1",
    )
}

/// SVM-15.5.1-C-014; legal while LME, PG or PAE is 0 (-C-015).
fn cs_l_and_d(vmcb: &Vmcb, _: &Host) -> Option<Violation> {
    let save = &vmcb.save;
    let attributes = save.cs.attributes;
    let long = long_mode(save.cr0, save.efer) && save.cr4.contains(Cr4::PAE);
    let broken = long && attributes.contains(Attributes::L | Attributes::DB);
    invalid(
        broken,
        "SVM-15.5.1-C-014",
        "CS.attrib",
        attributes.bits().into(),
        "L and D are 1 in long mode",
    )
}

/// SVM-15.5.1-C-024: bits 63:2, where there are shadow stacks.
fn s_cet_mbz(vmcb: &Vmcb, host: &Host) -> Option<Violation> {
    let broken = host.cr4.contains(Cr4::CET) && vmcb.save.s_cet >> 2 != 0;
    invalid(
        broken,
        "SVM-15.5.1-C-024",
        "S_CET",
        vmcb.save.s_cet,
        "bits 63:2 are not 0",
    )
}

/// SVM-15.5.1-C-025.
fn cet_without_wp(vmcb: &Vmcb, host: &Host) -> Option<Violation> {
    let save = &vmcb.save;
    let broken = (save.cr4 & host.cr4).contains(Cr4::CET) && !save.cr0.contains(Cr0::WP);
    invalid(
        broken,
        "SVM-15.5.1-C-025",
        "CR0",
        save.cr0.bits(),
        "WP is 0 while CR4.CET is 1",
    )
}
