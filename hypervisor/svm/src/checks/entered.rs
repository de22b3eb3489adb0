//! What VMRUN was given, kept for the case that it refuses.

use crate::regs::{Cr0, Cr4, Efer};
use crate::vmcb::{Attributes, EventInjection, InterruptControl, Vmcb};

/// The fields that a rule looks at and #VMEXIT may overwrite: VMEXIT_INVALID leaves the save area undefined
/// (SVM-15.5.1-C-034; some processors leave the host's registers there), and every #VMEXIT writes parts of the control
/// area.
///
/// These few words rather than the VMCB, because they are copied before every VMRUN. The tests of all rules go through
/// this type, so a field that a new rule needs cannot be forgotten.
#[derive(Clone, Copy, Debug)]
pub struct Entered {
    interrupt: InterruptControl,
    event_injection: EventInjection,
    cs: Attributes,
    efer: Efer,
    cr4: Cr4,
    cr3: u64,
    cr0: Cr0,
    dr7: u64,
    dr6: u64,
    s_cet: u64,
    g_pat: u64,
}

impl Entered {
    /// Copies the fields of a VMCB that VMRUN is about to get.
    #[must_use]
    pub const fn of(vmcb: &Vmcb) -> Self {
        let (control, save) = (&vmcb.control, &vmcb.save);
        Self {
            interrupt: control.interrupt,
            event_injection: control.event_injection,
            cs: save.cs.attributes,
            efer: save.efer,
            cr4: save.cr4,
            cr3: save.cr3,
            cr0: save.cr0,
            dr7: save.dr7,
            dr6: save.dr6,
            s_cet: save.s_cet,
            g_pat: save.g_pat,
        }
    }

    /// Puts them back: [`super::violations`] then judges what VMRUN judged.
    pub const fn restore(self, vmcb: &mut Vmcb) {
        let (control, save) = (&mut vmcb.control, &mut vmcb.save);
        control.interrupt = self.interrupt;
        control.event_injection = self.event_injection;
        save.cs.attributes = self.cs;
        save.efer = self.efer;
        save.cr4 = self.cr4;
        save.cr3 = self.cr3;
        save.cr0 = self.cr0;
        save.dr7 = self.dr7;
        save.dr6 = self.dr6;
        save.s_cet = self.s_cet;
        save.g_pat = self.g_pat;
    }
}
