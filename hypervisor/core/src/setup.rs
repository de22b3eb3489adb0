//! The guest's VMCB and permission maps, field by field: APM vol. 2, 15.5.1, 15.10, 15.11, appendix B.

use svm::addr::{GuestPhys, HostPhys};
use svm::features::SvmFeatures;
use svm::intercepts::{CrMask, ExceptionIntercepts, Misc1, Misc2};
use svm::iopm::Iopm;
use svm::msr;
use svm::msrpm::{MsrAccess, Msrpm};
use svm::regs::{Cr0, Efer, Rflags};
use svm::vmcb::{Attributes, DescriptorTable, InterruptControl, Segment, VintrFlags, VirtualizationControl, Vmcb};

use crate::defect;
use crate::memory::host_address;
use crate::paging::Paging;

/// Where a guest is loaded and entered.
pub const ENTRY: u16 = 0x7C00;

/// Where it finds its count.
pub const COUNT: GuestPhys = GuestPhys(0x600);

/// Where it finds its number: 0 for the first guest.
pub const NUMBER: GuestPhys = GuestPhys(0x608);

/// The PAT after reset (APM vol. 2, 7.8.2).
const RESET_PAT: u64 = 0x0007_0406_0007_0406;

/// Registers that VMLOAD and VMSAVE move: the guest has its own, so it needs no exit to use them.
const OWN_MSRS: [u32; 10] = [
    msr::SYSENTER_CS,
    msr::SYSENTER_ESP,
    msr::SYSENTER_EIP,
    msr::STAR,
    msr::LSTAR,
    msr::CSTAR,
    msr::SFMASK,
    msr::FS_BASE,
    msr::GS_BASE,
    msr::KERNEL_GS_BASE,
];

/// MTRRdefType, for a seeded defect.
const MTRR_DEF_TYPE: u32 = 0x2FF;

/// The permission maps, which all guests share: I/O and MSRs.
#[derive(Clone, Copy)]
pub struct Maps {
    iopm: HostPhys,
    msrpm: HostPhys,
}

/// Opens the maps, which close everything, as far as they shall be open.
pub fn open_maps(iopm: &mut Iopm, msrpm: &mut Msrpm, features: SvmFeatures) -> Maps {
    let own = OWN_MSRS.into_iter();
    let branch_records = msr::BRANCH_RECORDS
        .into_iter()
        .filter(|_| features.contains(SvmFeatures::LBR_VIRT) || defect::BRANCH_RECORDS_PASSED.is_on());
    for register in own.chain(branch_records) {
        for access in [MsrAccess::Read, MsrAccess::Write] {
            msrpm
                .set(register, access, false)
                .expect("the map covers these registers");
        }
    }
    for (writable, register) in [
        (defect::MTRR_WRITABLE.is_on(), MTRR_DEF_TYPE),
        (defect::PAT_WRITABLE.is_on(), msr::PAT),
        (defect::SMM_AREA_WRITABLE.is_on(), msr::SMM_MASK),
    ] {
        if writable {
            let _ = msrpm.set(register, MsrAccess::Write, false);
        }
    }
    Maps {
        iopm: host_address(iopm),
        msrpm: host_address(msrpm),
    }
}

/// Fills in a VMCB, which is all 0, for a guest that starts in real mode. Its ASID is that of each turn (`turns.rs`).
pub fn build(vmcb: &mut Vmcb, maps: Maps, paging: &Paging, features: SvmFeatures) {
    intercepts(vmcb, paging);
    control(vmcb, maps);
    offered(vmcb, features);
    real_mode(vmcb);
    paging.prepare(vmcb);
    if defect::ILLEGAL_CR0.is_on() {
        // Last, because the paging has its say in CR0.
        vmcb.save.cr0 |= Cr0::NW;
    }
    untidy(vmcb);
}

/// Seeded defects in what no guest here depends on.
fn untidy(vmcb: &mut Vmcb) {
    const GDTR_ATTRIBUTES: usize = 0x462;
    const UNUSED: usize = 0x3D0;
    // SAFETY: both lie in the VMCB's page, and any byte may be there.
    let write = |vmcb: &mut Vmcb, offset| unsafe { (&raw mut *vmcb).cast::<u8>().add(offset).write(1) };
    if defect::VMCB_DIRTY.is_on() {
        write(vmcb, UNUSED);
    }
    if defect::GDTR_ATTRIBUTES.is_on() {
        write(vmcb, GDTR_ATTRIBUTES);
    }
    if defect::NULL_ATTRIBUTES.is_on() {
        vmcb.save.gs.attributes -= Attributes::P;
    }
    if defect::LIMIT_IN_PAGES.is_on() {
        vmcb.save.fs.attributes |= Attributes::G;
        vmcb.save.fs.limit = 0x000F_FF00;
    }
    if defect::ABSENT_FEATURE.is_on() {
        vmcb.control.pause_filter_count = 1;
    }
}

/// What exits, and why: README.md, "What is intercepted".
fn intercepts(vmcb: &mut Vmcb, paging: &Paging) {
    let control = &mut vmcb.control;
    control.intercept_misc1 = Misc1::INTR
        | Misc1::NMI
        | Misc1::INIT
        | Misc1::RDPMC
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
        | Misc2::XSETBV
        | Misc2::RDPRU;
    if defect::NO_VMRUN_INTERCEPT.is_on() {
        control.intercept_misc2 -= Misc2::VMRUN;
    }
    if defect::SMI_INTERCEPTED.is_on() || defect::SMM_AREA_WRITABLE.is_on() {
        control.intercept_misc1 |= Misc1::SMI;
    }
    control.intercept_exceptions = ExceptionIntercepts::GP | ExceptionIntercepts::DF | ExceptionIntercepts::MC;
    // A bit that CPUID hides must not exist; and not every emulator refuses one that it lacks before VMRUN does.
    control.intercept_cr_write = CrMask::CR4;
    if defect::VECTOR_9_INTERCEPTED.is_on() {
        control.intercept_exceptions |= ExceptionIntercepts::from_bits_retain(1 << 2 | 1 << 9);
    }
    if let Paging::Shadow(_) = paging {
        let translation = CrMask::CR0 | CrMask::CR3 | CrMask::CR4;
        control.intercept_cr_read = translation;
        control.intercept_cr_write = translation;
        control.intercept_misc1 |= Misc1::INVLPG | Misc1::TASK_SWITCH;
        control.intercept_exceptions |= ExceptionIntercepts::PF;
    } else if defect::TASK_SWITCH_SKIPPED.is_on() {
        control.intercept_misc1 |= Misc1::TASK_SWITCH;
    }
}

fn control(vmcb: &mut Vmcb, maps: Maps) {
    let control = &mut vmcb.control;
    control.iopm_base_pa = maps.iopm;
    control.msrpm_base_pa = maps.msrpm;
    // The host's IF gates physical interrupts, whatever the guest's is, and the guest's CR8 is V_TPR.
    control.interrupt = InterruptControl::default().with_flags(VintrFlags::V_INTR_MASKING);
}

/// What not every processor has: README.md, "What of SVM is used".
fn offered(vmcb: &mut Vmcb, features: SvmFeatures) {
    /// What Linux KVM begins with: a loop that waits for another processor pauses more often than that.
    const PAUSES: u16 = 3000;
    const CYCLES_BETWEEN: u16 = 128;
    let control = &mut vmcb.control;
    if features.contains(SvmFeatures::PAUSE_FILTER) {
        control.intercept_misc1 |= Misc1::PAUSE;
        control.pause_filter_count = PAUSES;
        if features.contains(SvmFeatures::PAUSE_FILTER_THRESHOLD) {
            control.pause_filter_threshold = CYCLES_BETWEEN;
        }
    }
    if features.contains(SvmFeatures::LBR_VIRT) {
        control.virtualization |= VirtualizationControl::LBR;
    }
}

/// APM vol. 2, 14.1.3 "Processor initialization state", but for CS:IP and SP.
fn real_mode(vmcb: &mut Vmcb) {
    const RESET_DR6: u64 = 0xFFFF_0FF0;
    const RESET_DR7: u64 = 0x400;
    const REAL_MODE_IDT_LIMIT: u16 = 0x3FF;
    let save = &mut vmcb.save;
    save.cs = Segment::real_mode_code(0);
    for segment in [&mut save.ss, &mut save.ds, &mut save.es, &mut save.fs, &mut save.gs] {
        *segment = Segment::real_mode_data(0);
    }
    save.gdtr = DescriptorTable::new(0, 0xFFFF);
    save.idtr = DescriptorTable::new(0, REAL_MODE_IDT_LIMIT);
    save.ldtr = Segment {
        selector: 0,
        attributes: Attributes::LDT,
        limit: 0xFFFF,
        base: 0,
    };
    save.tr = Segment {
        selector: 0,
        attributes: Attributes::TSS_BUSY,
        limit: 0xFFFF,
        base: 0,
    };
    save.cpl = 0;
    save.cr0 = Cr0::ET;
    // VMRUN demands SVME in the guest's EFER, too (15.5.1); the guest never sees it.
    save.efer = Efer::SVME;
    save.dr6 = RESET_DR6;
    save.dr7 = RESET_DR7;
    save.rflags = Rflags::ONE;
    save.rip = ENTRY.into();
    save.rsp = ENTRY.into();
    save.g_pat = RESET_PAT;
}
