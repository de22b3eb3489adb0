//! May SVM be enabled? The decision of 15.4, as a function of what CPUID and VM_CR say.
//!
//! The processor is asked only what the answers so far permit: VM_CR does not exist without SVM, and leaf
//! Fn8000_000A is reserved without it (SVM-15.4-014).

use core::arch::x86_64::CpuidResult;

use crate::addr::HostPhys;
use crate::features::{
    ExtendedFeatures, LEAF_EXTENDED_FEATURES, LEAF_MAX_EXTENDED, LEAF_SVM, SvmFeatures, SvmLeaf, Vendor, vendor_string,
};
use crate::msr::VmCr;
use crate::regs::Efer;

/// Why SVM was not enabled, in the order in which the reasons are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// CPUID Fn8000_0000 reports less than 8000_0001h.
    NoExtendedLeaves,
    /// Neither AuthenticAMD nor HygonGenuine.
    Vendor,
    /// CPUID Fn8000_0001_ECX\[SVM\] is 0 (SVM-15.4-001).
    NoSvm,
    /// CPUID Fn8000_0000 reports less than 8000_000Ah.
    NoSvmLeaf,
    /// CPUID Fn8000_000A_EAX\[7:0\] is 0 (SVM-15.4-014).
    SvmRevision,
    /// CPUID Fn8000_000A_EBX is below 2: none for a guest (SVM-15.5.1-037).
    NoAsids,
    /// VM_CR.SVMDIS is 1 and SVML is 0: not unlockable (SVM-15.4-003).
    DisabledByFirmware,
    /// VM_CR.SVMDIS is 1 and SVML is 1: the key's owner may unlock it (SVM-15.4-004).
    DisabledWithKey,
    /// EFER.SVME could not be set, or did not read back (SVM-15.4-012).
    EferSvme,
    /// VM_HSAVE_PA could not be set, or did not read back (SVM-15.30.4-001).
    VmHsavePa,
    /// The guest needs nested paging, and CPUID Fn8000_000A_EDX\[NP\] is 0 or the command line forbids its use.
    NoNestedPaging,
    /// The key given did not unlock VM_CR, or SVMDIS could not be cleared then (SVM-15.31-006).
    Key,
}

impl Refusal {
    /// The outcome's name in the contract with the harness.
    #[must_use]
    pub const fn outcome(self) -> &'static str {
        match self {
            Self::NoExtendedLeaves => "refused.no-extended-leaves",
            Self::Vendor => "refused.vendor",
            Self::NoSvm => "refused.no-svm",
            Self::NoSvmLeaf => "refused.no-svm-leaf",
            Self::SvmRevision => "refused.svm-revision",
            Self::NoAsids => "refused.no-asids",
            Self::DisabledByFirmware => "refused.svm-disabled-by-firmware",
            Self::DisabledWithKey => "refused.svm-disabled-with-key",
            Self::EferSvme => "refused.efer-svme",
            Self::VmHsavePa => "refused.vm-hsave-pa",
            Self::NoNestedPaging => "refused.no-nested-paging",
            Self::Key => "refused.svm-key",
        }
    }

    /// The outcome's code, 8 bits: 20h to 2Bh.
    #[must_use]
    pub const fn code(self) -> u8 {
        0x20 + self as u8
    }
}

/// What a step of enabling read, for the record of that step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// CPUID Fn8000_0000_EAX.
    MaxExtendedLeaf(u32),
    /// The name in CPUID Fn0000_0000.
    Vendor([u8; 12]),
    /// CPUID Fn8000_0001_ECX.
    Svm(ExtendedFeatures),
    /// CPUID Fn8000_000A, if Fn8000_0000 says that it is there.
    SvmLeaf(Option<SvmLeaf>),
    /// MSR VM_CR.
    VmCr(VmCr),
}

impl Reading {
    /// The step's name in the contract with the harness. The two steps that follow, `efer.svme` and `vm-hsave-pa`,
    /// change the processor and are judged by [`confirm_svme`] and [`confirm_hsave_pa`].
    #[must_use]
    pub const fn step(self) -> &'static str {
        match self {
            Self::MaxExtendedLeaf(_) => "cpuid.max-extended-leaf",
            Self::Vendor(_) => "cpuid.vendor",
            Self::Svm(_) => "cpuid.svm",
            Self::SvmLeaf(_) => "cpuid.svm-leaf",
            Self::VmCr(_) => "vm-cr",
        }
    }
}

/// Decides whether SVM may be enabled. `observe` learns of each step, whether it was passed, and what was read, in
/// order; after a step that was not passed nothing more is read.
///
/// # Errors
/// The first reason against it.
pub fn decide(
    cpuid: impl Fn(u32) -> CpuidResult,
    vm_cr: impl FnOnce() -> VmCr,
    mut observe: impl FnMut(Reading, bool),
) -> Result<SvmLeaf, Refusal> {
    let mut step = |reading, verdict: Result<(), Refusal>| {
        observe(reading, verdict.is_ok());
        verdict
    };

    let max = cpuid(LEAF_MAX_EXTENDED).eax;
    step(Reading::MaxExtendedLeaf(max), judge_max_extended_leaf(max))?;

    let identity = cpuid(0);
    step(Reading::Vendor(vendor_string(identity)), judge_vendor(identity))?;

    let extended = ExtendedFeatures::from_bits_retain(cpuid(LEAF_EXTENDED_FEATURES).ecx);
    step(Reading::Svm(extended), judge_svm(extended))?;

    if max < LEAF_SVM {
        step(Reading::SvmLeaf(None), judge_svm_leaf(None))?;
    }
    let leaf = SvmLeaf::decode(cpuid(LEAF_SVM));
    step(Reading::SvmLeaf(Some(leaf)), judge_svm_leaf(Some(leaf)))?;

    let value = vm_cr();
    step(Reading::VmCr(value), judge_vm_cr(value, leaf.features))?;
    Ok(leaf)
}

/// Judges step `cpuid.max-extended-leaf`: CPUID Fn8000_0000_EAX.
///
/// # Errors
/// [`Refusal::NoExtendedLeaves`] if the extended features have no leaf.
pub const fn judge_max_extended_leaf(max: u32) -> Result<(), Refusal> {
    if max < LEAF_EXTENDED_FEATURES {
        return Err(Refusal::NoExtendedLeaves);
    }
    Ok(())
}

/// Judges step `cpuid.vendor`: CPUID Fn0000_0000.
///
/// # Errors
/// [`Refusal::Vendor`] if the vendor is none that implements SVM.
pub fn judge_vendor(identity: CpuidResult) -> Result<(), Refusal> {
    Vendor::decode(identity).map(|_| ()).ok_or(Refusal::Vendor)
}

/// Judges step `cpuid.svm`: CPUID Fn8000_0001_ECX (SVM-15.4-001).
///
/// # Errors
/// [`Refusal::NoSvm`] if the SVM bit is 0.
pub const fn judge_svm(extended: ExtendedFeatures) -> Result<(), Refusal> {
    if extended.contains(ExtendedFeatures::SVM) {
        return Ok(());
    }
    Err(Refusal::NoSvm)
}

/// Judges what the guest needs beyond SVM itself, once the leaf is known.
///
/// # Errors
/// [`Refusal::NoNestedPaging`] if that is what is missing; nothing else is asked for so far.
pub const fn judge_needs(needed: SvmFeatures, offered: SvmFeatures) -> Result<(), Refusal> {
    if needed.contains(SvmFeatures::NP) && !offered.contains(SvmFeatures::NP) {
        return Err(Refusal::NoNestedPaging);
    }
    Ok(())
}

/// Judges step `cpuid.svm-leaf`: CPUID Fn8000_000A, if there is one (SVM-15.4-014).
///
/// # Errors
/// What makes the leaf unusable.
pub const fn judge_svm_leaf(leaf: Option<SvmLeaf>) -> Result<(), Refusal> {
    match leaf {
        None => Err(Refusal::NoSvmLeaf),
        Some(SvmLeaf { revision: 0, .. }) => Err(Refusal::SvmRevision),
        Some(SvmLeaf { asids: 0 | 1, .. }) => Err(Refusal::NoAsids),
        Some(_) => Ok(()),
    }
}

/// Judges step `vm-cr`: VM_CR, and whether Fn8000_000A_EDX offers the lock (SVM-15.4-003, -004).
///
/// # Errors
/// Which of the two ways SVM is disabled.
pub const fn judge_vm_cr(value: VmCr, features: SvmFeatures) -> Result<(), Refusal> {
    match (value.contains(VmCr::SVMDIS), features.contains(SvmFeatures::SVML)) {
        (false, _) => Ok(()),
        (true, false) => Err(Refusal::DisabledByFirmware),
        (true, true) => Err(Refusal::DisabledWithKey),
    }
}

/// Judges step `svm-key`: what VM_CR reads after the key was written, `None` if that or the write raised an exception. What
/// to write to it now.
///
/// # Errors
/// [`Refusal::Key`] unless LOCK is clear (SVM-15.31-003, -007).
pub fn judge_key(read_back: Option<VmCr>) -> Result<VmCr, Refusal> {
    match read_back {
        Some(value) if !value.contains(VmCr::LOCK) => Ok(value - VmCr::SVMDIS),
        _ => Err(Refusal::Key),
    }
}

/// Judges the rest of that step: what VM_CR reads after SVMDIS was cleared, `None` if that raised an exception.
///
/// # Errors
/// [`Refusal::Key`] unless it is clear.
pub fn confirm_svmdis_clear(read_back: Option<VmCr>) -> Result<(), Refusal> {
    match read_back {
        Some(value) if !value.contains(VmCr::SVMDIS) => Ok(()),
        _ => Err(Refusal::Key),
    }
}

/// Judges step `efer.svme`: what EFER reads after SVME was written, `None` if that raised an exception.
///
/// # Errors
/// [`Refusal::EferSvme`] unless SVME is set.
pub fn confirm_svme(read_back: Option<Efer>) -> Result<(), Refusal> {
    match read_back {
        Some(efer) if efer.contains(Efer::SVME) => Ok(()),
        _ => Err(Refusal::EferSvme),
    }
}

/// Judges step `vm-hsave-pa`: what VM_HSAVE_PA reads after `written`, `None` if that raised an exception.
///
/// # Errors
/// [`Refusal::VmHsavePa`] unless it is the same.
pub fn confirm_hsave_pa(written: HostPhys, read_back: Option<HostPhys>) -> Result<(), Refusal> {
    if read_back == Some(written) {
        Ok(())
    } else {
        Err(Refusal::VmHsavePa)
    }
}

#[cfg(test)]
mod tests;
