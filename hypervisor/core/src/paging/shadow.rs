//! Shadow paging: for processors without nested paging.
//!
//! The guest runs on our tables, which start empty. Each #PF exits: if the guest's own tables allow the access, the page
//! goes into ours, else the guest gets its #PF. What would change the translation (CR0, CR3, CR4, EFER, INVLPG) exits,
//! too, and empties our tables. A guest that has paging off runs on tables of ours all the same, in real mode as "paged
//! real mode": VMRUN accepts CR0.PE = 0 with CR0.PG = 1 (APM vol. 2, 15.5.1).
//!
//! The tables' root is always the same page. Not done: accessed and dirty bits in the guest's own tables stay as they are.

use svm::addr::{GuestPhys, HostPhys, page_floor};
use svm::npt::{EntryFlags, Levels, MapError, PageSize, Tables};
use svm::regs::{Cr0, Cr4, Efer};
use svm::system_registers::SystemRegisters;
use svm::vmcb::{TlbControl, Vmcb};
use svm::walk::{AccessKind, Translation};

use crate::defect;
use crate::memory::TablePool;

/// The guest's view and our tables.
pub struct Shadow {
    /// What the guest believes; the VMCB holds what the processor really uses.
    pub guest: SystemRegisters,
    /// `None` only while they are being rebuilt.
    tables: Option<Tables<TablePool>>,
    /// How the TLB forgets what was in them.
    flush: TlbControl,
}

impl Shadow {
    /// For a guest as it is after reset.
    pub fn new(pool: TablePool, flush: TlbControl) -> Self {
        let tables = Tables::new(pool, Levels::Three).expect("the pool is fresh");
        Self {
            guest: SystemRegisters::RESET,
            tables: Some(tables),
            flush,
        }
    }

    /// The CR3 that the processor uses.
    pub fn root(&self) -> HostPhys {
        self.tables.as_ref().expect("not being rebuilt").root()
    }

    /// Puts into the VMCB what follows from the guest's registers.
    pub fn prepare(&self, vmcb: &mut Vmcb) {
        let SystemRegisters { cr0, cr4, efer, .. } = self.guest;
        // WP, because a page that is read-only in our tables must stop the supervisor as well.
        vmcb.save.cr0 = cr0 | Cr0::PG | Cr0::WP;
        vmcb.save.cr3 = self.root().0;
        // PAE, because our tables have 64-bit entries; no process-context identifiers and no 5 levels in them.
        vmcb.save.cr4 = (cr4 | Cr4::PAE) - (Cr4::PCIDE | Cr4::LA57 | Cr4::PGE);
        // LME follows LMA: before the guest switches its paging on, ours must not make long mode active. NXE is the
        // guest's own: where it is 0, the guest's tables forbid no execution, so ours need not.
        let mut really = (efer - (Efer::LME | Efer::LMA)) | Efer::SVME;
        if efer.contains(Efer::LMA) {
            really |= Efer::LME | Efer::LMA;
        }
        vmcb.save.efer = really;
        if !defect::INTERCEPTED_FLUSH_MISSED.is_on() {
            vmcb.control.tlb_control = self.flush;
        }
    }

    /// What has to be done before each VMRUN.
    pub fn before_entry(&mut self) {
        self.tables.as_mut().expect("not being rebuilt").restore_root();
    }

    /// The guest changed its translation: empties our tables and starts again.
    pub fn registers_changed(&mut self, vmcb: &mut Vmcb) {
        let levels = if self.guest.efer.contains(Efer::LMA) {
            Levels::Four
        } else {
            Levels::Three
        };
        let mut pool = self.tables.take().expect("not being rebuilt").into_memory();
        pool.clear();
        self.tables = Some(Tables::new(pool, levels).expect("the pool was just cleared"));
        self.prepare(vmcb);
    }

    /// Puts a page into our tables: `linear` leads to the page `host`, and the guest's tables grant what `found` says.
    /// `access` is what the guest just tried, and is allowed to do.
    pub fn map(
        &mut self,
        vmcb: &mut Vmcb,
        linear: u64,
        host: HostPhys,
        found: &Translation,
        kind: AccessKind,
        by_user: bool,
    ) {
        let mut flags = EntryFlags::empty();
        flags.set(EntryFlags::USER, found.user);
        flags.set(EntryFlags::WRITABLE, found.writable);
        if kind == AccessKind::Write && !by_user && !found.writable {
            // CR0.WP is 0 for the guest: its supervisor may write here, so its user must not come near.
            flags |= EntryFlags::WRITABLE;
            flags -= EntryFlags::USER;
        }
        if !found.executable {
            flags |= EntryFlags::NO_EXECUTE;
        }
        let page = page_floor(linear);
        match self.try_map(page, host, flags) {
            Ok(()) => {}
            Err(MapError::OutOfTables) => {
                self.registers_changed(vmcb);
                self.try_map(page, host, flags)
                    .expect("one page fits into empty tables");
            }
            Err(error) => panic!("shadow page {page:#x}: {error:?}"),
        }
    }

    fn try_map(&mut self, page: u64, host: HostPhys, flags: EntryFlags) -> Result<(), MapError> {
        let tables = self.tables.as_mut().expect("not being rebuilt");
        // What is there, if anything, granted less: the fault says so.
        let _ = tables.unmap(page);
        tables.map(page, host, PageSize::Small, flags)
    }
}

/// The guest-physical page of a translation.
pub fn page_of(found: &Translation) -> GuestPhys {
    found.physical.page()
}
