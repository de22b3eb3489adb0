//! The virtual machine control block: one 4-KiB page, control area at 000h, state-save area at 400h (appendix B,
//! SVM-B-001).

mod cached;
mod control;
mod enables;
mod event;
mod interrupt;
mod save;
mod segment;

pub use cached::Cached;
pub use control::{AvicPhysicalTable, Control};
pub use enables::{CleanBits, NestedControl, Rap, TlbControl, VirtualizationControl};
pub use event::{EventInjection, EventKind};
pub use interrupt::{IntState, InterruptControl, VintrFlags};
pub use save::SaveArea;
pub use segment::{Attributes, DescriptorTable, Segment};

use core::mem::{MaybeUninit, offset_of, size_of};

/// A VMCB: 4096 bytes, page-aligned; its physical address goes to rAX of VMRUN (SVM-15.5.1-001, -004).
#[repr(C, align(4096))]
#[derive(Clone)]
pub struct Vmcb {
    /// 000h: what to intercept and how; written by software, read by VMRUN.
    pub control: Control,
    /// 400h: the guest's registers; loaded by VMRUN and stored by #VMEXIT.
    pub save: SaveArea,
}

const _: () = assert!(size_of::<Vmcb>() == 4096); // appendix B, SVM-B-001
const _: () = assert!(offset_of!(Vmcb, control) == 0x000); // appendix B, table B-1
const _: () = assert!(offset_of!(Vmcb, save) == 0x400); // appendix B, table B-2

impl Vmcb {
    /// All bytes 0, as software must set up a new VMCB (SVM-B-002). VMRUN refuses it as it is.
    #[must_use]
    pub const fn zeroed() -> Self {
        // SAFETY: every field is an integer, an array of integers, or a transparent wrapper of an integer that
        // accepts any value, so all-zero bytes are a valid Vmcb.
        unsafe { MaybeUninit::zeroed().assume_init() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeroed_is_zero_everywhere() {
        let vmcb = Box::new(Vmcb::zeroed());
        // SAFETY: a Vmcb has no padding (the offset asserts leave no gap), lives as long as the slice, and is not
        // written meanwhile.
        let bytes = unsafe { core::slice::from_raw_parts((&raw const *vmcb).cast::<u8>(), 4096) };
        assert!(bytes.iter().all(|&byte| byte == 0));
        assert_eq!((&raw const *vmcb).addr() % 4096, 0);
    }
}
