//! Intercepts, permission maps, ASID, virtual interrupts (15.5.1, 15.21, 15.29).

use super::{Host, Rule, Violation, contract, invalid};
use crate::addr::{HostPhys, fits};
use crate::features::SvmFeatures;
use crate::intercepts::{Misc1, Misc2};
use crate::vmcb::{VintrFlags, Vmcb};

pub(super) const RULES: &[Rule] = &[
    vmrun_intercept,
    msrpm_range,
    iopm_range,
    asid_zero,
    vnmi_intercept,
    x2avic_without_avic,
    avic_index,
    asid_range,
];

/// SVM-15.5.1-C-017, -C-018.
fn vmrun_intercept(vmcb: &Vmcb, _: &Host) -> Option<Violation> {
    let misc2 = vmcb.control.intercept_misc2;
    let broken = !misc2.contains(Misc2::VMRUN);
    invalid(
        broken,
        "SVM-15.5.1-C-017",
        "INTERCEPT_MISC2",
        misc2.bits().into(),
        "the VMRUN intercept is 0",
    )
}

/// True if a map of `bytes` does not end below the maximum physical address; bits 11:0 of its base do not count
/// (SVM-15.5.1-C-021).
fn map_ends_outside(base: HostPhys, bytes: u64, host: &Host) -> bool {
    base.page()
        .checked_add(bytes - 1)
        .is_none_or(|last| !fits(last.0, host.physical_bits))
}

/// SVM-15.5.1-C-019: 8 KiB.
fn msrpm_range(vmcb: &Vmcb, host: &Host) -> Option<Violation> {
    let base = vmcb.control.msrpm_base_pa;
    let broken = map_ends_outside(base, 0x2000, host);
    let why = "the map's last byte is at or above the maximum physical address";
    invalid(broken, "SVM-15.5.1-C-019", "MSRPM_BASE_PA", base.0, why)
}

/// SVM-15.5.1-C-020: 12 KiB.
fn iopm_range(vmcb: &Vmcb, host: &Host) -> Option<Violation> {
    let base = vmcb.control.iopm_base_pa;
    let broken = map_ends_outside(base, 0x3000, host);
    let why = "the map's last byte is at or above the maximum physical address";
    invalid(broken, "SVM-15.5.1-C-020", "IOPM_BASE_PA", base.0, why)
}

/// SVM-15.5.1-C-022.
fn asid_zero(vmcb: &Vmcb, _: &Host) -> Option<Violation> {
    invalid(
        vmcb.control.guest_asid.0 == 0,
        "SVM-15.5.1-C-022",
        "GUEST_ASID",
        0,
        "0 is the host's",
    )
}

/// SVM-15.5.1-C-035, -037.
fn asid_range(vmcb: &Vmcb, host: &Host) -> Option<Violation> {
    let asid = vmcb.control.guest_asid;
    let broken = asid.0 != 0 && !asid.is_guest(host.asids);
    contract(
        broken,
        "SVM-15.5.1-C-035",
        "GUEST_ASID",
        asid.0.into(),
        "at or above CPUID Fn8000_000A_EBX",
    )
}

/// SVM-15.21.10-001.
fn vnmi_intercept(vmcb: &Vmcb, host: &Host) -> Option<Violation> {
    let word = vmcb.control.interrupt;
    let enabled = host.features.contains(SvmFeatures::VNMI) && word.flags().contains(VintrFlags::V_NMI_ENABLE);
    let broken = enabled && !vmcb.control.intercept_misc1.contains(Misc1::NMI);
    invalid(
        broken,
        "SVM-15.21.10-001",
        "VINTR",
        word.0,
        "V_NMI_ENABLE is 1 while the NMI intercept is 0",
    )
}

/// SVM-15.29-004.
fn x2avic_without_avic(vmcb: &Vmcb, host: &Host) -> Option<Violation> {
    let word = vmcb.control.interrupt;
    let enables = word.flags() & (VintrFlags::AVIC_ENABLE | VintrFlags::X2AVIC_ENABLE);
    let broken = host.features.contains(SvmFeatures::X2AVIC) && enables == VintrFlags::X2AVIC_ENABLE;
    invalid(
        broken,
        "SVM-15.29-004",
        "VINTR",
        word.0,
        "x2AVIC is enabled without AVIC",
    )
}

/// SVM-15.29-006.
fn avic_index(vmcb: &Vmcb, host: &Host) -> Option<Violation> {
    let flags = vmcb.control.interrupt.flags();
    let x2avic = host.features.contains(SvmFeatures::X2AVIC) && flags.contains(VintrFlags::X2AVIC_ENABLE);
    let greatest = if x2avic { 511 } else { 255 };
    let table = vmcb.control.avic_physical_table;
    let enabled = host.features.contains(SvmFeatures::AVIC) && flags.contains(VintrFlags::AVIC_ENABLE);
    let broken = enabled && table.max_index() > greatest;
    invalid(
        broken,
        "SVM-15.29-006",
        "AVIC_PHYSICAL_TABLE",
        table.0,
        "MAX_INDEX is too great",
    )
}
