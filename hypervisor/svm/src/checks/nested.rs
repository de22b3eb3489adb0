//! Nested paging (15.25).

use super::{Host, Rule, Violation, invalid};
use crate::addr::fits;
use crate::features::SvmFeatures;
use crate::regs::Cr0;
use crate::vmcb::{NestedControl, Vmcb};

pub(super) const RULES: &[Rule] = &[host_paging, n_cr3_mbz, g_pat, sss_check];

/// True if VMRUN turns nested paging on; the bit means nothing without the feature (SVM-15.25.3-004).
fn enabled(vmcb: &Vmcb, host: &Host) -> bool {
    host.features.contains(SvmFeatures::NP) && vmcb.control.nested.contains(NestedControl::NP_ENABLE)
}

/// SVM-15.25.3-002.
fn host_paging(vmcb: &Vmcb, host: &Host) -> Option<Violation> {
    let broken = enabled(vmcb, host) && !host.cr0.contains(Cr0::PG);
    let value = vmcb.control.nested.bits();
    invalid(
        broken,
        "SVM-15.25.3-002",
        "NP_ENABLE",
        value,
        "nested paging while the host's CR0.PG is 0",
    )
}

/// SVM-15.25.4-001, for a host in long mode.
fn n_cr3_mbz(vmcb: &Vmcb, host: &Host) -> Option<Violation> {
    let n_cr3 = vmcb.control.n_cr3.0;
    let broken = enabled(vmcb, host) && !fits(n_cr3, host.physical_bits);
    invalid(
        broken,
        "SVM-15.25.4-001",
        "N_CR3",
        n_cr3,
        "at or above the maximum physical address",
    )
}

/// SVM-15.25.4-002; not looked at without nested paging (-003).
fn g_pat(vmcb: &Vmcb, host: &Host) -> Option<Violation> {
    let pat = vmcb.save.g_pat;
    let legal = |memory_type: u8| matches!(memory_type, 0 | 1 | 4..=7); // UC, WC, WT, WP, WB, UC-
    let broken = enabled(vmcb, host) && !pat.to_le_bytes().into_iter().all(legal);
    invalid(broken, "SVM-15.25.4-002", "G_PAT", pat, "an entry is no memory type")
}

/// SVM-15.25.14-001.
fn sss_check(vmcb: &Vmcb, host: &Host) -> Option<Violation> {
    let nested = vmcb.control.nested;
    let checked = host.features.contains(SvmFeatures::SSS_CHECK) && nested.contains(NestedControl::SSS_CHECK);
    let broken = checked && !enabled(vmcb, host);
    invalid(
        broken,
        "SVM-15.25.14-001",
        "NP_ENABLE",
        nested.bits(),
        "SSSCheckEn is 1 without nested paging",
    )
}
