//! From the guest's addresses to the host's: nested tables where the processor offers them, else shadow tables.

pub mod nested;
pub mod shadow;

use svm::addr::{GuestPhys, HostPhys};
use svm::features::SvmFeatures;
use svm::npt::TableMemory;
use svm::system_registers::SystemRegisters;
use svm::vmcb::Vmcb;
use svm::walk::{self, Access};

use crate::guest::Guest;
use crate::memory::{GuestMemory, TablePool};
use crate::vcpu::flush_control;
use nested::Nested;
use shadow::Shadow;

/// How the guest's addresses are translated.
pub enum Paging {
    /// The guest's own tables, then ours: 15.25.
    Nested(Nested),
    /// Only ours, made from the guest's as it touches its pages.
    Shadow(Shadow),
}

impl Paging {
    /// Nested paging if there is any and nobody forbade it.
    pub fn choose(features: SvmFeatures, nested_paging: bool, memory: &GuestMemory, pool: TablePool) -> Self {
        if nested_paging && features.contains(SvmFeatures::NP) {
            Self::Nested(Nested::new(memory, pool))
        } else {
            Self::Shadow(Shadow::new(pool, flush_control(features)))
        }
    }

    /// As it stands in the `paging` record.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Nested(_) => "nested",
            Self::Shadow(_) => "shadow",
        }
    }

    /// The root of our tables: N_CR3, or the CR3 that the guest really has.
    pub fn root(&self) -> HostPhys {
        match self {
            Self::Nested(nested) => nested.root(),
            Self::Shadow(shadow) => shadow.root(),
        }
    }

    /// Puts into a VMCB that holds the guest's registers what the processor shall really use.
    pub fn prepare(&self, vmcb: &mut Vmcb) {
        match self {
            Self::Nested(nested) => nested.prepare(vmcb),
            Self::Shadow(shadow) => shadow.prepare(vmcb),
        }
    }
}

/// The guest's own paging, as its registers select it.
pub fn guest_paging(guest: &Guest) -> walk::Paging {
    let SystemRegisters { cr0, cr3, cr4, efer } = guest.system_registers();
    walk::Paging::new(cr0, cr3, cr4, efer, guest.processor.physical_bits)
}

/// Where a linear address of the guest leads, read with the supervisor's rights; `None` if nowhere.
pub fn translate(guest: &Guest, linear: u64) -> Option<GuestPhys> {
    let read = |entry| guest.memory.read_u64(entry);
    let found = walk::walk(&guest_paging(guest), linear, Access::SUPERVISOR_READ, read);
    found.ok().map(|translation| translation.physical)
}

impl TableMemory for TablePool {
    fn allocate(&mut self) -> Option<HostPhys> {
        TablePool::allocate(self)
    }

    fn read(&self, entry: HostPhys) -> u64 {
        self.entry(entry)
    }

    fn write(&mut self, entry: HostPhys, value: u64) {
        self.set_entry(entry, value);
    }
}
