//! Nested paging: APM vol. 2, 15.25. The guest has CR0, CR3 and CR4 for itself, and none of its writes exit.

use svm::addr::{GuestPhys, HostPhys, PAGE_SIZE};
use svm::npt::{EntryFlags, Levels, PageSize, Tables};
use svm::vmcb::{NestedControl, Vmcb};

use crate::memory::{GuestMemory, TablePool};

/// The nested tables. They change only where the guest gives memory back, or takes it again.
pub struct Nested {
    tables: Tables<TablePool>,
}

impl Nested {
    /// Maps all of the guest's memory, by small pages: whoever looks from outside sees each by itself.
    pub fn new(memory: &GuestMemory, pool: TablePool) -> Self {
        let tables = Tables::new(pool, Levels::Four).expect("the pool is fresh");
        let mut nested = Self { tables };
        for page in (0..GuestMemory::SIZE).step_by(PAGE_SIZE as usize).map(GuestPhys) {
            nested.map(page, memory.host_page(page).expect("the page is below the size"));
        }
        nested
    }

    /// Maps a page that is not mapped.
    pub fn map(&mut self, page: GuestPhys, host: HostPhys) {
        // Every access of a guest is a user access at the nested level (15.25.5).
        let flags = EntryFlags::WRITABLE | EntryFlags::USER;
        self.tables
            .map(page.0, host, PageSize::Small, flags)
            .expect("the pool is large enough");
    }

    /// Takes a page out. The guest may not run on before its translations are flushed (15.16.1).
    pub fn unmap(&mut self, page: GuestPhys) {
        let _ = self.tables.unmap(page.0);
    }

    /// What N_CR3 must hold.
    pub fn root(&self) -> HostPhys {
        self.tables.root()
    }

    /// Switches nested paging on.
    pub fn prepare(&self, vmcb: &mut Vmcb) {
        vmcb.control.nested = NestedControl::NP_ENABLE;
        vmcb.control.n_cr3 = self.root();
    }
}
