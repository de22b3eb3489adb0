//! Enabling SVM, in the manual's order: APM vol. 2, 15.4 "Enabling SVM", and 15.30.4 for the host save area.
//!
//! Each step reads one thing, emits one record, and lets through or refuses. Nothing is changed before every check has
//! passed; what a value means is decided by the pure functions of `svm::enable`.

use runtime::cpuid::cpuid;
use runtime::msr::{try_rdmsr, try_wrmsr};
use runtime::{Outcome, Record};
use svm::addr::HostPhys;
use svm::enable::{self, Refusal};
use svm::features::{
    ExtendedFeatures, LEAF_EXTENDED_FEATURES, LEAF_MAX_EXTENDED, LEAF_SVM, SvmFeatures, SvmLeaf, vendor_string,
};
use svm::msr::{self, VmCr};
use svm::regs::Efer;

use crate::{defect, smm};

/// Enables SVM with `save_area` as host save area, or says why not. `needed` is what the guest cannot do without, `key` what
/// unlocks SVM if it is locked.
pub fn enable(save_area: HostPhys, needed: SvmFeatures, key: Option<u64>) -> Result<SvmLeaf, Refusal> {
    let max = max_extended_leaf()?;
    vendor()?;
    svm_bit()?;
    if defect::SVME_TOO_EARLY.is_on() {
        vm_cr_or_key(features_if_disabled(), save_area, key)?;
        efer_svme()?;
        let leaf = svm_leaf(max)?;
        vm_hsave_pa(save_area)?;
        return Ok(leaf);
    }
    let leaf = svm_leaf(max)?;
    enable::judge_needs(needed, leaf.features)?;
    vm_cr_or_key(leaf.features, save_area, key)?;
    efer_svme()?;
    if !defect::HSAVE_LATE.is_on() {
        vm_hsave_pa(save_area)?;
    }
    smm::misuse();
    Ok(leaf)
}

/// The outcome that a refusal ends in.
pub fn outcome(refusal: Refusal) -> Outcome {
    match refusal {
        Refusal::NoExtendedLeaves => Outcome::NoExtendedLeaves,
        Refusal::Vendor => Outcome::Vendor,
        Refusal::NoSvm => Outcome::NoSvm,
        Refusal::NoSvmLeaf => Outcome::NoSvmLeaf,
        Refusal::SvmRevision => Outcome::SvmRevision,
        Refusal::NoAsids => Outcome::NoAsids,
        Refusal::DisabledByFirmware => Outcome::DisabledByFirmware,
        Refusal::DisabledWithKey => Outcome::DisabledWithKey,
        Refusal::EferSvme => Outcome::EferSvme,
        Refusal::VmHsavePa => Outcome::VmHsavePa,
        Refusal::NoNestedPaging => Outcome::NoNestedPaging,
        Refusal::Key => Outcome::Key,
    }
}

/// Begins a step's record.
fn step(name: &str, verdict: &Result<(), Refusal>) -> Record {
    Record::new("step").word("name", name).flag("ok", verdict.is_ok())
}

/// Is there a leaf that could tell about SVM?
fn max_extended_leaf() -> Result<u32, Refusal> {
    let max = cpuid(LEAF_MAX_EXTENDED, 0).eax;
    let verdict = enable::judge_max_extended_leaf(max);
    step("cpuid.max-extended-leaf", &verdict).hex("eax", max.into()).emit();
    verdict.map(|()| max)
}

/// Is it a vendor whose processors have SVM? Others use the bits of Fn8000_0001_ECX otherwise.
fn vendor() -> Result<(), Refusal> {
    let leaf = cpuid(0, 0);
    let mut verdict = enable::judge_vendor(leaf);
    if verdict.is_err() && defect::VENDOR_UNCHECKED.is_on() {
        verdict = Ok(());
    }
    step("cpuid.vendor", &verdict)
        .text("vendor", &vendor_string(leaf))
        .emit();
    verdict
}

/// Does the processor have SVM?
fn svm_bit() -> Result<(), Refusal> {
    let ecx = cpuid(LEAF_EXTENDED_FEATURES, 0).ecx;
    let mut verdict = enable::judge_svm(ExtendedFeatures::from_bits_retain(ecx));
    if verdict.is_err() && (defect::SVM_BIT_UNCHECKED.is_on() || defect::SVM_UNCHECKED.is_on()) {
        verdict = Ok(());
    }
    step("cpuid.svm", &verdict).hex("ecx", ecx.into()).emit();
    verdict
}

/// Which revision, how many ASIDs, and which optional parts?
fn svm_leaf(max_extended: u32) -> Result<SvmLeaf, Refusal> {
    let raw = if max_extended >= LEAF_SVM {
        Some(cpuid(LEAF_SVM, 0))
    } else {
        None
    };
    let leaf = raw.map(SvmLeaf::decode);
    let mut verdict = enable::judge_svm_leaf(leaf);
    if verdict.is_err() && defect::SVM_UNCHECKED.is_on() {
        verdict = Ok(());
    }
    let mut record = step("cpuid.svm-leaf", &verdict);
    if let Some(raw) = raw {
        record = record
            .hex("eax", raw.eax.into())
            .hex("ebx", raw.ebx.into())
            .hex("edx", raw.edx.into());
    }
    record.emit();
    verdict?;
    Ok(leaf.unwrap_or(SvmLeaf {
        revision: 0,
        asids: 0,
        features: SvmFeatures::empty(),
    }))
}

/// Did the firmware disable SVM, and can that be undone?
fn vm_cr(features: SvmFeatures, save_area: HostPhys) -> Result<(), Refusal> {
    if defect::VM_CR_UNREAD.is_on() {
        return Ok(());
    }
    let read = try_rdmsr(msr::VM_CR);
    let verdict = match read {
        Ok(value) => judge_vm_cr(VmCr::from_bits_retain(value), features),
        // A processor with SVM has VM_CR. Whoever keeps it from us keeps SVM from us.
        Err(_) => Err(Refusal::DisabledByFirmware),
    };
    let record = step("vm-cr", &verdict);
    match read {
        Ok(value) => record.hex("value", value).emit(),
        Err(fault) => record.hex("fault", fault.vector.into()).emit(),
    }
    if verdict.is_err() && defect::SVME_LEFT_ON.is_on() {
        let _ = read_efer().and_then(|efer| write_efer(efer | Efer::SVME));
    }
    if verdict.is_err() && defect::HSAVE_TOO_EARLY.is_on() {
        // SAFETY: the page is ours; SVME is 0, so the processor does not use it.
        let _ = unsafe { try_wrmsr(msr::VM_HSAVE_PA, save_area.0) };
    }
    verdict
}

/// The same, but with the key an answer to one of its refusals.
fn vm_cr_or_key(features: SvmFeatures, save_area: HostPhys, key: Option<u64>) -> Result<(), Refusal> {
    match (vm_cr(features, save_area), key) {
        (Err(Refusal::DisabledWithKey), Some(key)) if !defect::SVM_KEY_UNUSED.is_on() => svm_key(key),
        (verdict, _) => verdict,
    }
}

/// Unlocks SVM and switches it on again (15.31), and believes what VM_CR reads then.
fn svm_key(key: u64) -> Result<(), Refusal> {
    let read = || try_rdmsr(msr::VM_CR).ok().map(VmCr::from_bits_retain);
    // SAFETY: neither register has an effect on code that executes no SVM instruction.
    let write = |register, value| unsafe { try_wrmsr(register, value) }.ok();
    if defect::SVM_KEY_TRUSTED.is_on() {
        return write(msr::SVM_KEY, key)
            .and_then(|()| write(msr::VM_CR, 0))
            .ok_or(Refusal::Key);
    }
    // While VM_CR is not locked a write would set another key (SVM-15.31-002).
    let unlocked = match read() {
        Some(value) if value.contains(VmCr::LOCK) => write(msr::SVM_KEY, key).and_then(|()| read()),
        value => value,
    };
    let verdict = enable::judge_key(unlocked).and_then(|value| {
        let wrote = write(msr::VM_CR, value.bits());
        enable::confirm_svmdis_clear(wrote.and_then(|()| read()))
    });
    step("svm-key", &verdict)
        .hex("value", unlocked.unwrap_or_default().bits())
        .emit();
    verdict
}

/// While a defect puts VM_CR before the leaf: what the leaf says, if VM_CR makes that matter.
fn features_if_disabled() -> SvmFeatures {
    match try_rdmsr(msr::VM_CR) {
        Ok(value) if VmCr::from_bits_retain(value).contains(VmCr::SVMDIS) => {
            SvmLeaf::decode(cpuid(LEAF_SVM, 0)).features
        }
        _ => SvmFeatures::empty(),
    }
}

/// `svm::enable`'s judgement, but for the seeded defects.
fn judge_vm_cr(value: VmCr, features: SvmFeatures) -> Result<(), Refusal> {
    let disabled = value.contains(VmCr::SVMDIS);
    if disabled && defect::SVMDIS_IGNORED.is_on() {
        return Ok(());
    }
    if !value.is_empty() && !disabled && defect::VM_CR_ANY_BIT.is_on() {
        return Err(Refusal::DisabledByFirmware);
    }
    let features = match features {
        features if disabled && defect::SVML_IGNORED.is_on() => features - SvmFeatures::SVML,
        features if disabled && defect::SVML_ASSUMED.is_on() => features | SvmFeatures::SVML,
        features => features,
    };
    enable::judge_vm_cr(value, features)
}

/// Sets EFER.SVME, and believes what it reads back. If that is not what was written, the bit may be set all the same, so
/// it is cleared.
fn efer_svme() -> Result<(), Refusal> {
    let before = read_efer();
    let wrote = before.and_then(|efer| write_efer(efer | Efer::SVME));
    let read_back = wrote.and_then(|()| read_efer());
    let verdict = enable::confirm_svme(read_back);
    step("efer.svme", &verdict)
        .hex("efer", read_back.unwrap_or_default().bits())
        .emit();
    if let (Err(_), Some(efer), Some(())) = (&verdict, before, wrote) {
        let _ = write_efer(efer - Efer::SVME);
    }
    verdict
}

/// Gives the processor its page for the host's state, and believes what it reads back.
pub fn vm_hsave_pa(save_area: HostPhys) -> Result<(), Refusal> {
    let mut written = save_area;
    if defect::HSAVE_UNALIGNED.is_on() {
        let unaligned = HostPhys(save_area.0 + 8);
        // SAFETY: the state that VMRUN saves ends before the page does, also 8 bytes further on.
        if unsafe { try_wrmsr(msr::VM_HSAVE_PA, unaligned.0) }.is_ok() {
            written = unaligned;
        }
    }
    // SAFETY: the page is reserved for the processor; nothing else touches it.
    let wrote = unsafe { try_wrmsr(msr::VM_HSAVE_PA, written.0) };
    let read_back = wrote.and_then(|()| try_rdmsr(msr::VM_HSAVE_PA)).ok().map(HostPhys);
    let verdict = enable::confirm_hsave_pa(written, read_back);
    step("vm-hsave-pa", &verdict)
        .hex("wrote", written.0)
        .hex("value", read_back.unwrap_or_default().0)
        .emit();
    if verdict.is_err() {
        let _ = read_efer().and_then(|efer| write_efer(efer - Efer::SVME));
    }
    verdict
}

/// Reads EFER; `None` if that faults.
fn read_efer() -> Option<Efer> {
    try_rdmsr(msr::EFER).ok().map(Efer::from_bits_retain)
}

/// Writes EFER; `None` if that faults. `value` differs from what is there in SVME at most.
fn write_efer(value: Efer) -> Option<()> {
    // SAFETY: only SVME changes, and that has no effect on code that executes no SVM instruction.
    unsafe { try_wrmsr(msr::EFER, value.bits()) }.ok()
}
