//! The VMCB and the permission maps of a guest that has the machine almost for itself.

use pc::policy::{msr, port};
use svm::addr::Asid;
use svm::features::SvmFeatures;
use svm::intercepts::{ExceptionIntercepts, Misc1, Misc2};
use svm::msr::BRANCH_RECORDS;
use svm::msrpm::MsrAccess;
use svm::regs::{Cr0, Efer, Rflags};
use svm::vmcb::{Attributes, CleanBits, DescriptorTable, NestedControl, Segment, VirtualizationControl, Vmcb};

use super::load::{Entry, KernelEntry};
use super::machine::Machine;
use crate::defect;
use crate::memory::Pages;
use crate::setup::ENTRY;
use crate::vcpu::flush_control;

const ASID: Asid = Asid(1);
/// The PAT after reset (APM vol. 2, 7.8.2).
const RESET_PAT: u64 = 0x0007_0406_0007_0406;

/// Fills in the first processor's VMCB, which is all 0, and the maps.
pub fn build(pages: &mut Pages, machine: &Machine, entry: Entry) {
    ports(pages, machine);
    registers(pages, machine.features);
    control(pages.vmcb, machine);
    match entry {
        Entry::Kernel(kernel) => protected_mode(pages.vmcb, kernel),
        Entry::RealMode => {
            real_mode(pages.vmcb, 0);
            pages.vmcb.save.rip = ENTRY.into();
        }
    }
}

/// Fills in the VMCB, which is all 0, of a further processor that got a start-up interrupt.
pub fn started(vmcb: &mut Vmcb, machine: &Machine, vector: u8) {
    control(vmcb, machine);
    real_mode(vmcb, vector);
}

/// Each processor has a TLB of its own, so all can have the same identifier.
fn control(vmcb: &mut Vmcb, machine: &Machine) {
    vmcb.control.iopm_base_pa = machine.iopm;
    vmcb.control.msrpm_base_pa = machine.msrpm;
    intercepts(vmcb);
    vmcb.control.guest_asid = ASID;
    vmcb.control.tlb_control = flush_control(machine.features);
    vmcb.control.nested = NestedControl::NP_ENABLE;
    vmcb.control.n_cr3 = machine.nested_root();
    if machine.features.contains(SvmFeatures::VMCB_CLEAN) && defect::CLEAN_AT_FIRST.is_on() {
        vmcb.control.clean = CleanBits::DEBUG_REGISTERS;
    }
    if machine.features.contains(SvmFeatures::LBR_VIRT) {
        vmcb.control.virtualization |= VirtualizationControl::LBR;
    }
}

/// All open but those of the policy.
fn ports(pages: &mut Pages, machine: &Machine) {
    pages.iopm.open();
    for rule in port::RULES {
        let overlooked = defect::EXIT_PORT_PASSED.is_on() && rule.port == port::LAST_EXIT;
        pages.iopm.set(rule.port, !overlooked);
    }
    if let Some(power) = machine.power {
        pages.iopm.set(power.watched(), true);
    }
}

/// All closed but those of the policy.
fn registers(pages: &mut Pages, features: SvmFeatures) {
    if features.contains(SvmFeatures::LBR_VIRT) || defect::BRANCH_RECORDS_PASSED.is_on() {
        for register in BRANCH_RECORDS {
            for access in [MsrAccess::Read, MsrAccess::Write] {
                let _ = pages.msrpm.set(register, access, false);
            }
        }
    }
    for rule in msr::RULES {
        for register in rule.first..=rule.last {
            for (access, what) in [(MsrAccess::Read, rule.read), (MsrAccess::Write, rule.write)] {
                if what == msr::Access::Pass && !(defect::MSR_REFUSED.is_on() && register == msr::MTRR_CAP) {
                    // A register that the map does not cover exits, and is passed through by hand.
                    let _ = pages.msrpm.set(register, access, false);
                }
            }
        }
    }
}

/// What exits, and why: README.md. Interrupts do not: V_INTR_MASKING is 0, so the guest's IF rules, and they go through
/// its own IDT; while the host runs, GIF is 0 and they wait.
fn intercepts(vmcb: &mut Vmcb) {
    let control = &mut vmcb.control;
    control.intercept_misc1 = Misc1::INIT
        | Misc1::CPUID
        | Misc1::INVD
        | Misc1::HLT
        | Misc1::INVLPGA
        | Misc1::IOIO_PROT
        | Misc1::MSR_PROT
        | Misc1::SHUTDOWN;
    control.intercept_misc2 = Misc2::VMRUN
        | Misc2::VMMCALL
        | Misc2::VMLOAD
        | Misc2::VMSAVE
        | Misc2::STGI
        | Misc2::CLGI
        | Misc2::SKINIT
        | Misc2::MONITOR
        | Misc2::MWAIT
        | Misc2::MWAIT_CONDITIONAL
        | Misc2::RDPRU;
    if defect::HALT_PASSED.is_on() {
        control.intercept_misc1 -= Misc1::HLT;
    }
    if defect::SMI_INTERCEPTED.is_on() {
        control.intercept_misc1 |= Misc1::SMI;
    }
    // SVM instructions raise it at CPL 3 before their intercept.
    control.intercept_exceptions = ExceptionIntercepts::GP;
}

/// What the boot protocol demands of its 32-bit entry point: flat segments, paging and interrupts off, RSI the parameters.
fn protected_mode(vmcb: &mut Vmcb, entry: KernelEntry) {
    const CODE: u16 = 0x10;
    const DATA: u16 = 0x18;
    let flat = |selector, attributes| Segment {
        selector,
        attributes,
        limit: u32::MAX,
        base: 0,
    };
    after_reset(vmcb);
    let save = &mut vmcb.save;
    save.cs = flat(CODE, Attributes::CODE_32);
    for segment in [&mut save.ss, &mut save.ds, &mut save.es, &mut save.fs, &mut save.gs] {
        *segment = flat(DATA, Attributes::DATA_32);
    }
    save.gdtr = DescriptorTable::new(entry.gdt, entry.gdt_limit);
    save.cr0 = Cr0::PE | Cr0::ET;
    save.rip = entry.code;
    save.rsp = entry.parameters;
}

/// After INIT and a start-up interrupt: real mode, at the first byte of the page that the vector names (16.5).
fn real_mode(vmcb: &mut Vmcb, vector: u8) {
    const REAL_MODE_IDT_LIMIT: u16 = 0x3FF;
    after_reset(vmcb);
    let save = &mut vmcb.save;
    save.cs = Segment::real_mode_code(u16::from(vector) << 8);
    for segment in [&mut save.ss, &mut save.ds, &mut save.es, &mut save.fs, &mut save.gs] {
        *segment = Segment::real_mode_data(0);
    }
    save.gdtr = DescriptorTable::new(0, 0xFFFF);
    save.idtr = DescriptorTable::new(0, REAL_MODE_IDT_LIMIT);
    save.cr0 = Cr0::ET | Cr0::CD | Cr0::NW;
}

/// What reset leaves in registers that no mode is about (14.1.3).
fn after_reset(vmcb: &mut Vmcb) {
    const DR6: u64 = 0xFFFF_0FF0;
    const DR7: u64 = 0x400;
    let system = |attributes| Segment {
        selector: 0,
        attributes,
        limit: 0xFFFF,
        base: 0,
    };
    let save = &mut vmcb.save;
    save.ldtr = system(Attributes::LDT);
    save.tr = system(Attributes::TSS_BUSY);
    // VMRUN demands SVME in the guest's EFER, too (15.5.1); the guest never sees it.
    save.efer = Efer::SVME;
    save.dr6 = DR6;
    save.dr7 = DR7;
    save.rflags = Rflags::ONE;
    save.g_pat = RESET_PAT;
}
