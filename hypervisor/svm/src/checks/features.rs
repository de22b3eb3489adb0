//! What the VMCB asks for must be offered (SVM-15.4-015). Processors may ignore such a request, so these are contracts.

use super::{Host, Rule, Violation, contract};
use crate::features::SvmFeatures as F;
use crate::vmcb::{CleanBits, NestedControl, TlbControl, VintrFlags, VirtualizationControl, Vmcb};

pub(super) const RULES: &[Rule] = &[
    nested_paging,
    nested_extras,
    virtualization,
    interrupts,
    tlb_control,
    clean_bits,
];

const RULE: &str = "SVM-15.4-015";
const WHY: &str = "a feature that CPUID Fn8000_000A_EDX does not offer";

/// True if any of the requests that are made is not offered.
fn unoffered<const N: usize>(host: &Host, requests: [(bool, F); N]) -> bool {
    requests
        .into_iter()
        .any(|(made, feature)| made && !host.features.contains(feature))
}

/// SVM-15.25.3-004.
fn nested_paging(vmcb: &Vmcb, host: &Host) -> Option<Violation> {
    let nested = vmcb.control.nested;
    let broken = unoffered(host, [(nested.contains(NestedControl::NP_ENABLE), F::NP)]);
    contract(broken, "SVM-15.25.3-004", "NP_ENABLE", nested.bits(), WHY)
}

/// SVM-15.4-015.
fn nested_extras(vmcb: &Vmcb, host: &Host) -> Option<Violation> {
    let nested = vmcb.control.nested;
    let requests = [
        (nested.contains(NestedControl::GMET), F::GMET),
        (nested.contains(NestedControl::SSS_CHECK), F::SSS_CHECK),
        (nested.contains(NestedControl::ROGPT), F::ROGPT),
        (nested.contains(NestedControl::INVLPGB), F::TLBI_CTL),
    ];
    contract(unoffered(host, requests), RULE, "NP_ENABLE", nested.bits(), WHY)
}

/// SVM-15.4-015.
fn virtualization(vmcb: &Vmcb, host: &Host) -> Option<Violation> {
    let enables = vmcb.control.virtualization;
    let requests = [
        (enables.contains(VirtualizationControl::LBR), F::LBR_VIRT),
        (enables.contains(VirtualizationControl::VMLOAD_VMSAVE), F::VMSAVE_VIRT),
        (enables.contains(VirtualizationControl::IBS), F::IBS_VIRT),
        (enables.contains(VirtualizationControl::PMC), F::PMC_VIRT),
    ];
    contract(
        unoffered(host, requests),
        RULE,
        "LBR_VIRTUALIZATION_ENABLE",
        enables.bits(),
        WHY,
    )
}

/// SVM-15.4-015.
fn interrupts(vmcb: &Vmcb, host: &Host) -> Option<Violation> {
    let word = vmcb.control.interrupt;
    let requests = [
        (word.flags().contains(VintrFlags::V_GIF_ENABLE), F::VGIF),
        (word.flags().contains(VintrFlags::V_NMI_ENABLE), F::VNMI),
        (word.flags().contains(VintrFlags::AVIC_ENABLE), F::AVIC),
        (word.flags().contains(VintrFlags::X2AVIC_ENABLE), F::X2AVIC),
    ];
    contract(unoffered(host, requests), RULE, "VINTR", word.0, WHY)
}

/// SVM-15.16.1-003, -004, -006.
fn tlb_control(vmcb: &Vmcb, host: &Host) -> Option<Violation> {
    let tlb = vmcb.control.tlb_control;
    let by_asid = matches!(tlb, TlbControl::GUEST | TlbControl::GUEST_NON_GLOBAL);
    let broken = !tlb.is_defined() || unoffered(host, [(by_asid, F::FLUSH_BY_ASID)]);
    contract(
        broken,
        "SVM-15.16.1-006",
        "TLB_CONTROL",
        tlb.0.into(),
        "an encoding that is reserved on this processor",
    )
}

/// SVM-15.4-015.
fn clean_bits(vmcb: &Vmcb, host: &Host) -> Option<Violation> {
    let clean = vmcb.control.clean;
    let broken = unoffered(host, [(clean != CleanBits::empty(), F::VMCB_CLEAN)]);
    contract(broken, RULE, "VMCB_CLEAN", clean.bits().into(), WHY)
}
