//! Intercepted exceptions: #GP, for the sake of SVM instructions at CPL 3, #PF, for the sake of shadow paging, and #DF.

use runtime::log;
use svm::insn::Instruction;
use svm::walk::{Access, AccessKind, PageFault, WalkError, walk};

use super::{DOUBLE_FAULT, GENERAL_PROTECTION, INVALID_OPCODE, Next, PAGE_FAULT, memory};
use crate::defect;
use crate::guest::Guest;
use crate::paging::{Paging, guest_paging, shadow};
use svm::regs::Rflags;

/// #GP: goes to the guest; but the #GP(0) of an SVM instruction becomes #UD.
///
/// EFER.SVME is 1 while the guest runs, so its SVM instruction raises #GP(0) at CPL 3, before the intercept is looked at
/// (APM vol. 2, 15.9). On the processor that the guest believes in they do not exist.
pub fn general_protection(guest: &mut Guest) -> Next {
    let error = guest.vmcb.control.exit_info_1 as u32;
    if error == 0 && !defect::CPL3_GP.is_on() && is_svm_instruction(guest) {
        return guest.raise(INVALID_OPCODE, None);
    }
    guest.raise(GENERAL_PROTECTION, Some(error))
}

fn is_svm_instruction(guest: &Guest) -> bool {
    let decoded = guest.instruction();
    matches!(
        decoded.map(|decoded| decoded.instruction),
        Some(
            Instruction::Vmrun
                | Instruction::Vmload
                | Instruction::Vmsave
                | Instruction::Stgi
                | Instruction::Clgi
                | Instruction::Skinit
                | Instruction::Invlpga
        )
    )
}

/// #DF: what comes before a shutdown is worth a line on the console; then it goes to the guest.
///
/// The RIP that was saved is undefined, so the guest must not be resumed there (15.12.9): it goes on in its handler, which
/// finds on its stack what a processor would have left there, or shuts down.
pub fn double_fault(guest: &mut Guest) -> Next {
    log!(
        "the guest's handler of {:?} faulted: #DF",
        guest.vmcb.control.exit_int_info
    );
    if defect::DOUBLE_FAULT_RESUMED.is_on() {
        const DIV: u64 = 2;
        guest.vmcb.save.rip += DIV;
        return Next::Resume;
    }
    guest.raise(DOUBLE_FAULT, Some(0))
}

/// #PF, with shadow paging only: the guest's own, or the first touch of a page.
pub fn page_fault(guest: &mut Guest) -> Next {
    let error = PageFault::from_bits_truncate(guest.vmcb.control.exit_info_1 as u32);
    let linear = guest.vmcb.control.exit_info_2;
    let kind = match error {
        error if error.contains(PageFault::FETCH) => AccessKind::Fetch,
        error if error.contains(PageFault::WRITE) => AccessKind::Write,
        _ => AccessKind::Read,
    };
    let user = error.contains(PageFault::USER);
    let access = Access {
        kind,
        user,
        alignment_check: guest.vmcb.save.rflags.contains(Rflags::AC),
    };
    let found = walk(&guest_paging(guest), linear, access, |entry| {
        guest.memory.read_u64(entry)
    });
    let found = match found {
        Ok(found) => found,
        Err(WalkError::PageFault(code)) => {
            if !defect::CR2_LOST.is_on() {
                guest.vmcb.save.cr2 = linear;
            }
            return guest.raise(PAGE_FAULT, Some(code.bits()));
        }
        Err(WalkError::NonCanonical) => return guest.raise(GENERAL_PROTECTION, Some(0)),
        Err(WalkError::NoMemory(entry)) => return memory::touched(guest, entry),
    };
    let page = shadow::page_of(&found);
    let Some(host) = guest.memory.host_page(page) else {
        return memory::touched(guest, page);
    };
    let Paging::Shadow(shadow) = &mut guest.paging else {
        return Next::Unhandled;
    };
    shadow.map(guest.vcpu.vmcb, linear, host, &found, kind, user);
    Next::Resume
}
