//! VMRUN refused the guest: which rule did it break?
//!
//! The processor says only #GP(0) or VMEXIT_INVALID; the rules are in APM vol. 2, 15.5.1, and `svm::checks` knows them.

use runtime::cpuid::cpuid;
use runtime::fixup::Fault;
use runtime::{Outcome, Record, log};
use svm::checks::{self, Effect, Host, Violation};
use x86_64::registers::control;

use crate::exits::GENERAL_PROTECTION;
use crate::vcpu::Vcpu;
use crate::world;

/// VMRUN raised a fault.
pub fn by_fault(vcpu: &mut Vcpu, fault: Fault) -> Outcome {
    log!(
        "VMRUN raised exception {} with error code {:#x}",
        fault.vector,
        fault.error
    );
    assert!(
        fault.vector == GENERAL_PROTECTION,
        "VMRUN raised exception {}",
        fault.vector
    );
    let operand = world::operand(vcpu.vmcb_address());
    report("gp", checks::address_violations(operand, &host()));
    Outcome::VmrunGp
}

/// VMRUN ended in VMEXIT_INVALID. What the processor left in the VMCB is no evidence; [`crate::guest::Guest::enter`] put back what
/// VMRUN was given.
pub fn by_invalid(vcpu: &Vcpu) -> Outcome {
    log!("VMRUN ended in VMEXIT_INVALID");
    let host = host();
    let violations = checks::violations(vcpu.vmcb, &host);
    report(
        "invalid",
        violations.filter(|violation| violation.effect == Effect::Invalid),
    );
    Outcome::VmrunInvalid
}

fn report(how: &str, violations: impl Iterator<Item = Violation>) {
    let mut count = 0;
    for violation in violations {
        count += 1;
        log!(
            "{}: {} = {:#x}: {}",
            violation.rule,
            violation.field,
            violation.value,
            violation.why
        );
        Record::new("vmrun.refused")
            .word("how", how)
            .word("rule", violation.rule)
            .text("field", violation.field.as_bytes())
            .hex("value", violation.value)
            .text("why", violation.why.as_bytes())
            .emit();
    }
    if count == 0 {
        log!("no rule that this hypervisor knows is broken");
    }
}

/// The processor that judges.
pub fn host() -> Host {
    Host::from_cpuid(cpuid, svm::regs::Cr0::from_bits_retain(control::Cr0::read_raw()))
}
