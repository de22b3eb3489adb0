//! Event injection (15.20): an illegal request is VMEXIT_INVALID (SVM-15.5.1-C-023).

use super::{Host, Rule, Violation, contract, invalid};
use crate::features::SvmFeatures;
use crate::intercepts::ExceptionIntercepts;
use crate::regs::long_mode;
use crate::vmcb::{Attributes, EventKind, Vmcb};

pub(super) const RULES: &[Rule] = &[
    reserved_type,
    exception_nmi,
    exception_above_31,
    exception_reserved,
    impossible_in_64_bit,
    software_interrupt,
];

const FIELD: &str = "EVENTINJ";

/// The vector, if there is an event of this kind at all (SVM-15.20-021).
fn vector_of(vmcb: &Vmcb, kind: EventKind) -> Option<u8> {
    let event = vmcb.control.event_injection;
    (event.is_valid() && event.kind() == kind).then_some(event.vector())
}

/// SVM-15.20-007.
fn reserved_type(vmcb: &Vmcb, _: &Host) -> Option<Violation> {
    let event = vmcb.control.event_injection;
    let broken = event.is_valid() && matches!(event.kind(), EventKind::Reserved(_));
    invalid(broken, "SVM-15.20-007", FIELD, event.0, "the type is reserved")
}

/// SVM-15.20-008.
fn exception_nmi(vmcb: &Vmcb, _: &Host) -> Option<Violation> {
    let broken = vector_of(vmcb, EventKind::Exception) == Some(2);
    invalid(
        broken,
        "SVM-15.20-008",
        FIELD,
        vmcb.control.event_injection.0,
        "an exception with vector 2",
    )
}

/// SVM-15.20-009.
fn exception_above_31(vmcb: &Vmcb, _: &Host) -> Option<Violation> {
    let broken = vector_of(vmcb, EventKind::Exception).is_some_and(|vector| vector > 31);
    invalid(
        broken,
        "SVM-15.20-009",
        FIELD,
        vmcb.control.event_injection.0,
        "an exception with a vector above 31",
    )
}

/// SVM-15.20-010: vectors below 32 that are no exception; 2 has a rule of its own.
fn exception_reserved(vmcb: &Vmcb, _: &Host) -> Option<Violation> {
    const NAMED: u32 = named_vectors();
    let broken = vector_of(vmcb, EventKind::Exception)
        .is_some_and(|vector| vector < 32 && vector != 2 && NAMED >> vector & 1 == 0);
    invalid(
        broken,
        "SVM-15.20-010",
        FIELD,
        vmcb.control.event_injection.0,
        "no exception has this vector",
    )
}

/// The vectors that [`ExceptionIntercepts`] has names for, one bit each.
const fn named_vectors() -> u32 {
    let flags = <ExceptionIntercepts as bitflags::Flags>::FLAGS;
    let (mut vectors, mut at) = (0, 0);
    while at < flags.len() {
        if flags[at].is_named() {
            vectors |= flags[at].value().bits();
        }
        at += 1;
    }
    vectors
}

/// SVM-15.20-011: INTO and BOUND do not exist in 64-bit mode.
fn impossible_in_64_bit(vmcb: &Vmcb, _: &Host) -> Option<Violation> {
    let save = &vmcb.save;
    let in_64_bit = long_mode(save.cr0, save.efer) && save.cs.attributes.contains(Attributes::L);
    let broken = in_64_bit && matches!(vector_of(vmcb, EventKind::Exception), Some(4 | 5));
    invalid(
        broken,
        "SVM-15.20-011",
        FIELD,
        vmcb.control.event_injection.0,
        "#OF or #BR in 64-bit mode",
    )
}

/// SVM-15.20-018, -019.
fn software_interrupt(vmcb: &Vmcb, host: &Host) -> Option<Violation> {
    let broken = vector_of(vmcb, EventKind::SoftwareInterrupt).is_some() && !host.features.contains(SvmFeatures::NRIPS);
    contract(
        broken,
        "SVM-15.20-018",
        FIELD,
        vmcb.control.event_injection.0,
        "a software interrupt without NRIPS",
    )
}
