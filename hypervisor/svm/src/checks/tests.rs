//! Each rule from both sides of its boundary: a change to a legal VMCB, and the rules it breaks.

use super::*;
use crate::addr::Asid;
use crate::features::SvmFeatures as F;
use crate::intercepts::{Misc1, Misc2};
use crate::regs::{Cr0, Cr4, Efer};
use crate::vmcb::*;

const HOST: Host = Host {
    physical_bits: 40,
    asids: 16,
    features: F::all(),
    cr4: Cr4::all(),
    efer: Efer::all().difference(Efer::UAIE),
    cr0: Cr0::PG,
};

/// A long-mode guest that VMRUN accepts.
fn legal() -> Box<Vmcb> {
    let mut vmcb = Box::new(Vmcb::zeroed());
    vmcb.control.intercept_misc2 = Misc2::VMRUN;
    vmcb.control.guest_asid = Asid(1);
    vmcb.save.efer = Efer::SVME | Efer::LME;
    vmcb.save.cr0 = Cr0::PE | Cr0::PG | Cr0::WP;
    vmcb.save.cr4 = Cr4::PAE;
    vmcb.save.cs.attributes = Attributes::CODE_64;
    vmcb
}

/// The rules that a changed legal VMCB breaks.
fn broken_on(host: Host, change: impl FnOnce(&mut Vmcb)) -> Vec<&'static str> {
    let mut vmcb = legal();
    change(&mut vmcb);
    violations(&vmcb, &host).map(|violation| violation.rule).collect()
}

fn broken(change: impl FnOnce(&mut Vmcb)) -> Vec<&'static str> {
    broken_on(HOST, change)
}

const NONE: [&str; 0] = [];

#[test]
fn a_legal_guest_breaks_nothing() {
    assert_eq!(broken(|_| ()), NONE);
    let all_zero = broken(|vmcb| *vmcb = Vmcb::zeroed());
    assert_eq!(all_zero, ["SVM-15.5.1-C-001", "SVM-15.5.1-C-017", "SVM-15.5.1-C-022"]);
}

#[test]
fn a_violation_says_what_it_saw() {
    let mut vmcb = legal();
    vmcb.save.dr7 = 1 << 32;
    let found: Vec<_> = violations(&vmcb, &HOST).collect();
    let why = "bits 63:32 are not 0";
    let rule = "SVM-15.5.1-C-009";
    assert_eq!(
        found,
        [Violation {
            rule,
            field: "DR7",
            value: 1 << 32,
            why,
            effect: Effect::Invalid
        }]
    );
}

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

#[test]
fn intercepts_maps_and_asids() {
    assert_eq!(
        broken(|v| v.control.intercept_misc2 = !Misc2::VMRUN),
        ["SVM-15.5.1-C-017"]
    );
    assert_eq!(broken(|v| v.control.msrpm_base_pa.0 = (1 << 40) - 0x2000 + 0xfff), NONE);
    assert_eq!(
        broken(|v| v.control.msrpm_base_pa.0 = (1 << 40) - 0x1000),
        ["SVM-15.5.1-C-019"]
    );
    assert_eq!(broken(|v| v.control.msrpm_base_pa.0 = u64::MAX), ["SVM-15.5.1-C-019"]);
    assert_eq!(broken(|v| v.control.iopm_base_pa.0 = (1 << 40) - 0x3000 + 0xfff), NONE);
    assert_eq!(
        broken(|v| v.control.iopm_base_pa.0 = (1 << 40) - 0x2000),
        ["SVM-15.5.1-C-020"]
    );
    assert_eq!(broken(|v| v.control.guest_asid = Asid(0)), ["SVM-15.5.1-C-022"]);
    assert_eq!(broken(|v| v.control.guest_asid = Asid(15)), NONE);
    assert_eq!(broken(|v| v.control.guest_asid = Asid(16)), ["SVM-15.5.1-C-035"]);
}

#[test]
fn virtual_interrupts() {
    let with = |flags: VintrFlags, index: u64| {
        move |v: &mut Vmcb| {
            v.control.interrupt = v.control.interrupt.with_flags(flags);
            v.control.avic_physical_table = AvicPhysicalTable(index);
        }
    };
    use VintrFlags as V;
    assert_eq!(broken(with(V::V_NMI_ENABLE, 0)), ["SVM-15.21.10-001"]);
    let intercepted = |v: &mut Vmcb| {
        with(V::V_NMI_ENABLE, 0)(v);
        v.control.intercept_misc1 = Misc1::NMI;
    };
    assert_eq!(broken(intercepted), NONE);
    assert_eq!(broken(with(V::X2AVIC_ENABLE, 0)), ["SVM-15.29-004"]);
    assert_eq!(broken(with(V::AVIC_ENABLE, 255)), NONE);
    assert_eq!(broken(with(V::AVIC_ENABLE, 256)), ["SVM-15.29-006"]);
    assert_eq!(broken(with(V::AVIC_ENABLE | V::X2AVIC_ENABLE, 511)), NONE);
    assert_eq!(broken(with(V::AVIC_ENABLE | V::X2AVIC_ENABLE, 512)), ["SVM-15.29-006"]);
    assert_eq!(broken(with(V::empty(), 0xfff)), NONE);
}

#[test]
fn events() {
    let inject = |event| broken(|v| v.control.event_injection = event);
    assert_eq!(inject(EventInjection::NONE), NONE);
    for kind in [1, 5, 6, 7] {
        assert_eq!(inject(EventInjection(1 << 31 | kind << 8)), ["SVM-15.20-007"]);
        assert_eq!(inject(EventInjection(kind << 8)), NONE);
    }
    assert_eq!(inject(EventInjection::interrupt(255)), NONE);
    assert_eq!(inject(EventInjection::nmi()), NONE);
    assert_eq!(inject(EventInjection::software_interrupt(255)), NONE);
    for vector in 0..=255 {
        let expected: &[&str] = match vector {
            2 => &["SVM-15.20-008"],
            32.. => &["SVM-15.20-009"],
            9 | 15 | 20 | 22..=27 | 31 => &["SVM-15.20-010"],
            4 | 5 => &["SVM-15.20-011"],
            _ => &[],
        };
        assert_eq!(inject(EventInjection::exception(vector, None)), expected, "{vector}");
    }
    let bound = |v: &mut Vmcb| {
        v.control.event_injection = EventInjection::exception(5, None);
        v.save.cs.attributes = Attributes::CODE_32;
    };
    assert_eq!(broken(bound), NONE);
}

#[test]
fn nested_paging_rules_count_when_it_is_on() {
    let on = |v: &mut Vmcb| v.control.nested = NestedControl::NP_ENABLE;
    assert_eq!(broken(on), NONE);
    let unpaged = Host { cr0: Cr0::PE, ..HOST };
    assert_eq!(broken_on(unpaged, on), ["SVM-15.25.3-002"]);
    assert_eq!(broken_on(unpaged, |_| ()), NONE);
    let root = |address| move |v: &mut Vmcb| v.control.n_cr3 = HostPhys(address);
    let both = |first: fn(&mut Vmcb), second: &dyn Fn(&mut Vmcb)| {
        broken(|v| {
            first(v);
            second(v);
        })
    };
    assert_eq!(both(on, &root((1 << 40) - 1)), NONE);
    assert_eq!(both(on, &root(1 << 40)), ["SVM-15.25.4-001"]);
    assert_eq!(broken(root(1 << 40)), NONE);
    assert_eq!(both(on, &|v| v.save.g_pat = 0x0007_0406_0007_0501), NONE);
    for bad in [2, 3, 8, 0x80] {
        assert_eq!(both(on, &|v| v.save.g_pat = bad << 56), ["SVM-15.25.4-002"]);
        assert_eq!(broken(|v| v.save.g_pat = bad), NONE);
    }
    assert_eq!(
        broken(|v| v.control.nested = NestedControl::SSS_CHECK),
        ["SVM-15.25.14-001"]
    );
    assert_eq!(both(on, &|v| v.control.nested |= NestedControl::SSS_CHECK), NONE);
}

#[test]
fn what_is_not_offered_must_not_be_asked_for() {
    let bare = Host {
        features: F::empty(),
        ..HOST
    };
    let nested = |bits| move |v: &mut Vmcb| v.control.nested = bits;
    assert_eq!(broken_on(bare, nested(NestedControl::NP_ENABLE)), ["SVM-15.25.3-004"]);
    for bit in [
        NestedControl::GMET,
        NestedControl::SSS_CHECK,
        NestedControl::ROGPT,
        NestedControl::INVLPGB,
    ] {
        assert_eq!(broken_on(bare, nested(bit)), ["SVM-15.4-015"]);
    }
    let all = |v: &mut Vmcb| v.control.virtualization = VirtualizationControl::all();
    assert_eq!((broken_on(bare, all), broken(all)), (vec!["SVM-15.4-015"], vec![]));
    let gif = |v: &mut Vmcb| v.control.interrupt = v.control.interrupt.with_flags(VintrFlags::V_GIF_ENABLE);
    assert_eq!((broken_on(bare, gif), broken(gif)), (vec!["SVM-15.4-015"], vec![]));
    let clean = |v: &mut Vmcb| v.control.clean = CleanBits::ASID;
    assert_eq!((broken_on(bare, clean), broken(clean)), (vec!["SVM-15.4-015"], vec![]));
    let software = |v: &mut Vmcb| v.control.event_injection = EventInjection::software_interrupt(3);
    assert_eq!(
        (broken_on(bare, software), broken(software)),
        (vec!["SVM-15.20-018"], vec![])
    );
    for (encoding, on_bare, on_full) in [(0, 0, 0), (1, 0, 0), (2, 1, 1), (3, 1, 0), (7, 1, 0), (8, 1, 1)] {
        let flush = |v: &mut Vmcb| v.control.tlb_control = TlbControl(encoding);
        assert_eq!(
            (broken_on(bare, flush).len(), broken(flush).len()),
            (on_bare, on_full),
            "{encoding}"
        );
    }
}

#[test]
fn the_address_of_a_vmcb() {
    let rules = |address| -> Vec<_> { address_violations(HostPhys(address), &HOST).collect() };
    assert!(rules(0).is_empty() && rules((1 << 40) - 0x1000).is_empty());
    let names = |address| rules(address).iter().map(|found| found.rule).collect::<Vec<_>>();
    assert_eq!(names(1), ["SVM-15.5.1-004"]);
    assert_eq!(names(0x1800), ["SVM-15.5.1-004"]);
    assert_eq!(names(1 << 40), ["SVM-15.5.1-005"]);
    assert_eq!(names(u64::MAX), ["SVM-15.5.1-004", "SVM-15.5.1-005"]);
    assert!(
        rules(u64::MAX)
            .iter()
            .all(|found| found.effect == Effect::GeneralProtection)
    );
}
