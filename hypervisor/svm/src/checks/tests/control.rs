//! Everything in the control area, and the address.

use super::*;

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
