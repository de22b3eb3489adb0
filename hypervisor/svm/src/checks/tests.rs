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

/// Does what VMEXIT_INVALID may do: fills the save area with what is not the guest's, and writes the fields of the
/// control area that every #VMEXIT writes.
fn exit_invalid(vmcb: &mut Vmcb) {
    let save = &raw mut vmcb.save;
    // SAFETY: the area is borrowed, and every field of it accepts every value (`Vmcb::zeroed`).
    unsafe { save.write_bytes(0xff, 1) };
    let control = &mut vmcb.control;
    control.exit_code = crate::exit::ExitCode::INVALID;
    control.interrupt = InterruptControl::default();
    control.int_state = IntState::empty();
    control.event_injection = EventInjection::NONE;
    (control.exit_info_1, control.exit_info_2, control.next_rip) = (!0, !0, !0);
    (control.bytes_fetched, control.instruction_bytes) = (!0, [!0; 15]);
}

/// The rules that a changed legal VMCB breaks: found before VMRUN, and again after it refused.
fn broken_on(host: Host, change: impl FnOnce(&mut Vmcb)) -> Vec<&'static str> {
    let mut vmcb = legal();
    change(&mut vmcb);
    let before: Vec<_> = violations(&vmcb, &host).collect();
    let entered = Entered::of(&vmcb);
    exit_invalid(&mut vmcb);
    entered.restore(&mut vmcb);
    let after: Vec<_> = violations(&vmcb, &host).collect();
    assert_eq!(before, after);
    after.iter().map(|violation| violation.rule).collect()
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

mod control;
mod registers;
