//! Control and debug registers.

use super::*;

#[test]
fn cr0() {
    assert_eq!(broken(|v| v.save.cr0 |= Cr0::NW), ["SVM-15.5.1-C-002"]);
    assert_eq!(broken(|v| v.save.cr0 |= Cr0::NW | Cr0::CD), NONE);
    assert_eq!(broken(|v| v.save.cr0 |= Cr0::CD), NONE);
    assert_eq!(
        broken(|v| v.save.cr0 |= Cr0::from_bits_retain(1 << 32)),
        ["SVM-15.5.1-C-004"]
    );
    assert_eq!(
        broken(|v| v.save.cr0 |= Cr0::from_bits_retain(1 << 63)),
        ["SVM-15.5.1-C-004"]
    );
    assert_eq!(broken(|v| v.save.cr0 -= Cr0::PE), ["SVM-15.5.1-C-013"]);
    assert_eq!(
        broken(|v| {
            v.save.cr0 -= Cr0::PE;
            v.save.efer -= Efer::LME;
        }),
        NONE
    );
}

#[test]
fn cr3_counts_in_long_mode_only() {
    assert_eq!(broken(|v| v.save.cr3 = (1 << 40) - 1), NONE);
    assert_eq!(broken(|v| v.save.cr3 = 1 << 40), ["SVM-15.5.1-C-005"]);
    assert_eq!(broken(|v| v.save.cr3 = 1 << 63), ["SVM-15.5.1-C-005"]);
    assert_eq!(
        broken(|v| {
            v.save.cr3 = 1 << 40;
            v.save.efer -= Efer::LME;
        }),
        NONE
    );
}

#[test]
fn cr4_and_efer_follow_the_processor() {
    assert_eq!(broken(|v| v.save.cr4 = Cr4::all()), NONE);
    assert_eq!(
        broken(|v| v.save.cr4 |= Cr4::from_bits_retain(1 << 13)),
        ["SVM-15.5.1-C-007"]
    );
    assert_eq!(
        broken(|v| v.save.cr4 |= Cr4::from_bits_retain(1 << 32)),
        ["SVM-15.5.1-C-007"]
    );
    let without = Host {
        cr4: HOST.cr4 - Cr4::SMEP,
        ..HOST
    };
    assert_eq!(broken_on(without, |v| v.save.cr4 |= Cr4::SMEP), ["SVM-15.5.1-C-007"]);
    assert_eq!(broken(|v| v.save.cr4 -= Cr4::PAE), ["SVM-15.5.1-C-012"]);
    assert_eq!(broken(|v| v.save.efer |= Efer::NXE | Efer::LMA), NONE);
    assert_eq!(broken(|v| v.save.efer |= Efer::UAIE), ["SVM-15.5.1-C-010"]);
    assert_eq!(
        broken(|v| v.save.efer |= Efer::from_bits_retain(1 << 1)),
        ["SVM-15.5.1-C-010"]
    );
    assert_eq!(broken(|v| v.save.efer -= Efer::SVME), ["SVM-15.5.1-C-001"]);
    let legacy = Host {
        efer: HOST.efer - Efer::LME - Efer::LMA,
        ..HOST
    };
    assert_eq!(broken_on(legacy, |_| ()), ["SVM-15.5.1-C-011"]);
    assert_eq!(
        broken_on(legacy, |v| v.save.efer = Efer::SVME | Efer::LMA),
        ["SVM-15.5.1-C-011"]
    );
    assert_eq!(broken_on(legacy, |v| v.save.efer = Efer::SVME), NONE);
}

#[test]
fn debug_registers_have_32_bits() {
    assert_eq!(broken(|v| (v.save.dr6, v.save.dr7) = (0xffff_ffff, 0xffff_ffff)), NONE);
    assert_eq!(broken(|v| v.save.dr6 = 1 << 32), ["SVM-15.5.1-C-008"]);
    assert_eq!(broken(|v| v.save.dr7 = 1 << 32), ["SVM-15.5.1-C-009"]);
}

#[test]
fn cs_must_not_be_64_bit_and_32_bit() {
    let both = Attributes::CODE_64 | Attributes::DB;
    assert_eq!(broken(|v| v.save.cs.attributes = both), ["SVM-15.5.1-C-014"]);
    assert_eq!(broken(|v| v.save.cs.attributes = Attributes::CODE_32), NONE);
    let compatible = |v: &mut Vmcb| {
        v.save.cs.attributes = both;
        v.save.efer -= Efer::LME;
    };
    assert_eq!(broken(compatible), NONE);
}

#[test]
fn shadow_stacks() {
    assert_eq!(broken(|v| v.save.s_cet = 3), NONE);
    assert_eq!(broken(|v| v.save.s_cet = 4), ["SVM-15.5.1-C-024"]);
    let without = Host {
        cr4: HOST.cr4 - Cr4::CET,
        ..HOST
    };
    assert_eq!(broken_on(without, |v| v.save.s_cet = 4), NONE);
    assert_eq!(broken(|v| v.save.cr4 |= Cr4::CET), NONE);
    let unprotected = |v: &mut Vmcb| {
        v.save.cr4 |= Cr4::CET;
        v.save.cr0 -= Cr0::WP;
    };
    assert_eq!(broken(unprotected), ["SVM-15.5.1-C-025"]);
}
