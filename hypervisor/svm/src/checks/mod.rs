//! Which of VMRUN's rules does a VMCB break? (15.5.1, 15.20 and the VMEXIT_INVALID sentences of other sections.)
//!
//! Each rule is a small function that cites its requirement. Judged is what the bytes of a VMCB and the facts of the
//! host decide. Left out is what needs more: guest memory (PAE page-directory pointers, SVM-15.5.1-031), MSRs that this
//! VMCB format does not hold (U_CET, SVM-15.5.1-C-026) and memory encryption (SVM-15.34.3-001).

mod control;
mod entered;
mod event;
mod features;
mod host;
mod nested;
mod registers;

pub use entered::Entered;
pub use host::Host;

use crate::addr::{self, HostPhys};
use crate::vmcb::Vmcb;

/// What follows from breaking a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// VMRUN raises #GP(0).
    GeneralProtection,
    /// VMRUN ends in VMEXIT_INVALID.
    Invalid,
    /// Software must not do it; processors differ in whether they refuse it.
    Contract,
}

/// A broken rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The requirement's id, such as `SVM-15.5.1-C-022`.
    pub rule: &'static str,
    /// The field as the manual calls it.
    pub field: &'static str,
    /// The field's value.
    pub value: u64,
    /// What is wrong with it, in a few words.
    pub why: &'static str,
    /// What VMRUN makes of it.
    pub effect: Effect,
}

/// A rule about a VMCB.
type Rule = fn(&Vmcb, &Host) -> Option<Violation>;

/// Makes a rule's verdict: `broken` decides, the rest says what and why.
fn invalid(broken: bool, rule: &'static str, field: &'static str, value: u64, why: &'static str) -> Option<Violation> {
    broken.then_some(Violation {
        rule,
        field,
        value,
        why,
        effect: Effect::Invalid,
    })
}

/// The same for a rule that binds software only.
fn contract(broken: bool, rule: &'static str, field: &'static str, value: u64, why: &'static str) -> Option<Violation> {
    broken.then_some(Violation {
        rule,
        field,
        value,
        why,
        effect: Effect::Contract,
    })
}

/// Every rule that the VMCB breaks, in the order of the manual: control registers first, contracts last.
pub fn violations<'a>(vmcb: &'a Vmcb, host: &'a Host) -> impl Iterator<Item = Violation> + 'a {
    let rules: [&[Rule]; 5] = [
        registers::RULES,
        control::RULES,
        event::RULES,
        nested::RULES,
        features::RULES,
    ];
    rules.into_iter().flatten().filter_map(move |rule| rule(vmcb, host))
}

/// Every rule that the address in rAX of VMRUN, VMLOAD or VMSAVE breaks.
pub fn address_violations(rax: HostPhys, host: &Host) -> impl Iterator<Item = Violation> {
    let gp = |broken: bool, rule, why| {
        let effect = Effect::GeneralProtection;
        broken.then_some(Violation {
            rule,
            field: "rAX",
            value: rax.0,
            why,
            effect,
        })
    };
    let rules = [
        gp(!rax.is_page_aligned(), "SVM-15.5.1-004", "bits 11:0 are not 0"),
        gp(
            !addr::fits(rax.0, host.physical_bits),
            "SVM-15.5.1-005",
            "at or above the maximum physical address",
        ),
    ];
    rules.into_iter().flatten()
}

#[cfg(test)]
mod tests;
