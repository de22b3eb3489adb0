//! The processor that a machine gets: what KVM supports here, with the job's changes, as a multiboot loader leaves it.

use std::io;

use kvm_bindings::{CpuId, KVM_MAX_CPUID_ENTRIES, Msrs, kvm_cpuid_entry2, kvm_msr_entry, kvm_regs, kvm_segment};
use kvm_ioctls::{Kvm, VcpuFd};

use crate::wire::{CpuidChange, Job, MsrPreset};

const FEATURES: u32 = 1;
const HYPERVISOR: u32 = 1 << 31;
const EXTENDED_FEATURES: u32 = 0x8000_0001;
const SVM: u32 = 1 << 2;

const CODE: u8 = 0xB;
const DATA: u8 = 0x3;
const PROTECTED_MODE: u64 = 0x11;
const FLAGS: u64 = 2;

/// An error of KVM's, with what was asked of it.
pub fn named(what: &str) -> impl Fn(kvm_ioctls::Error) -> io::Error + '_ {
    move |error| io::Error::other(format!("{what}: {error}"))
}

/// Whether this KVM offers SVM to its guests.
pub fn check(kvm: &Kvm) -> io::Result<()> {
    let supported = supported(kvm)?;
    let has = supported
        .as_slice()
        .iter()
        .any(|entry| entry.function == EXTENDED_FEATURES && entry.ecx & SVM != 0);
    if has {
        Ok(())
    } else {
        Err(io::Error::other("this KVM offers no SVM to its guests"))
    }
}

fn supported(kvm: &Kvm) -> io::Result<CpuId> {
    kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
        .map_err(named("KVM_GET_SUPPORTED_CPUID"))
}

/// Makes the processor ready for the job's first instruction.
pub fn set_up(kvm: &Kvm, vcpu: &VcpuFd, job: &Job) -> io::Result<()> {
    let cpuid = changed(supported(kvm)?.as_slice(), &job.cpuid);
    let cpuid = CpuId::from_entries(&cpuid).map_err(|error| io::Error::other(format!("{error:?}")))?;
    vcpu.set_cpuid2(&cpuid).map_err(named("KVM_SET_CPUID2"))?;
    job.msrs.iter().try_for_each(|msr| preset(vcpu, msr))?;
    enter(vcpu, job)
}

/// The supported leaves with the changes; one that is not there is all zero.
fn changed(supported: &[kvm_cpuid_entry2], changes: &[CpuidChange]) -> Vec<kvm_cpuid_entry2> {
    let mut leaves = supported.to_vec();
    for change in changes {
        if !leaves.iter().any(|leaf| leaf.function == change.leaf) {
            leaves.push(kvm_cpuid_entry2 {
                function: change.leaf,
                ..Default::default()
            });
        }
    }
    for leaf in &mut leaves {
        if leaf.function == FEATURES {
            leaf.ecx |= HYPERVISOR;
        }
        for change in changes.iter().filter(|change| change.leaf == leaf.function) {
            let register = match change.register {
                0 => &mut leaf.eax,
                1 => &mut leaf.ebx,
                2 => &mut leaf.ecx,
                _ => &mut leaf.edx,
            };
            *register = *register & change.keep | change.set;
        }
    }
    leaves
}

fn preset(vcpu: &VcpuFd, msr: &MsrPreset) -> io::Result<()> {
    let entry = kvm_msr_entry {
        index: msr.index,
        data: msr.value,
        ..Default::default()
    };
    let one = Msrs::from_entries(&[entry]).map_err(|error| io::Error::other(format!("{error:?}")))?;
    match vcpu.set_msrs(&one).map_err(named("KVM_SET_MSRS"))? {
        1 => Ok(()),
        _ => Err(io::Error::other(format!(
            "KVM does not take {:#x} for MSR {:#x}",
            msr.value, msr.index
        ))),
    }
}

/// 32-bit protected mode with flat segments, no paging, no interrupts.
fn enter(vcpu: &VcpuFd, job: &Job) -> io::Result<()> {
    let segment = |selector, type_| kvm_segment {
        limit: u32::MAX,
        selector,
        type_,
        present: 1,
        db: 1,
        s: 1,
        g: 1,
        ..Default::default()
    };
    let mut sregs = vcpu.get_sregs().map_err(named("KVM_GET_SREGS"))?;
    sregs.cs = segment(0x08, CODE);
    let data = segment(0x10, DATA);
    (sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss) = (data, data, data, data, data);
    sregs.cr0 = PROTECTED_MODE;
    vcpu.set_sregs(&sregs).map_err(named("KVM_SET_SREGS"))?;
    let regs = kvm_regs {
        rip: job.rip,
        rflags: FLAGS,
        rax: job.rax,
        rbx: job.rbx,
        ..Default::default()
    };
    vcpu.set_regs(&regs).map_err(named("KVM_SET_REGS"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_apply_to_their_leaf_and_register_only() {
        let supported = [
            kvm_cpuid_entry2 {
                function: 1,
                ecx: 1,
                ..Default::default()
            },
            kvm_cpuid_entry2 {
                function: EXTENDED_FEATURES,
                ebx: 7,
                ecx: 7,
                ..Default::default()
            },
        ];
        let change = CpuidChange {
            leaf: EXTENDED_FEATURES,
            register: 2,
            keep: !SVM,
            set: 8,
        };
        let leaves = changed(&supported, &[change]);
        assert_eq!(leaves.len(), 2);
        assert_eq!(leaves[0].ecx, 1 | HYPERVISOR);
        assert_eq!((leaves[1].ebx, leaves[1].ecx), (7, 0b1011));
    }

    #[test]
    fn a_leaf_that_is_not_there_can_be_made() {
        let change = CpuidChange {
            leaf: 0x8000_000A,
            register: 3,
            keep: 0,
            set: 4,
        };
        let leaves = changed(&[], &[change]);
        assert_eq!(
            (leaves.len(), leaves[0].function, leaves[0].eax, leaves[0].edx),
            (1, 0x8000_000A, 0, 4)
        );
    }
}
