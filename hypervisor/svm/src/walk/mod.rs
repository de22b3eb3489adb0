//! The walk of a guest's own page tables: what the processor would do with a linear address (volume 2, chapter 5).
//!
//! A hypervisor needs it for shadow paging and to read guest memory that an instruction names. The walk sets no accessed
//! or dirty bits.

mod paging;
mod trail;

pub use paging::{Paging, Translation};
pub use trail::{LowMemory, Trail, Word};

use bitflags::bitflags;

use crate::addr::GuestPhys;
use paging::Mode;

/// What an access does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessKind {
    /// Reads data.
    Read,
    /// Writes data.
    Write,
    /// Fetches code.
    Fetch,
}

/// An access to a linear address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// What it does.
    pub kind: AccessKind,
    /// True at CPL 3.
    pub user: bool,
    /// RFLAGS.AC: lets CPL 0 to 2 touch user pages under SMAP.
    pub alignment_check: bool,
}

impl Access {
    /// A read of data by the supervisor that no protection but paging itself stops: how a hypervisor reads on behalf of
    /// its guest.
    pub const SUPERVISOR_READ: Self = Self {
        kind: AccessKind::Read,
        user: false,
        alignment_check: true,
    };
}

bitflags! {
    /// The error code of #PF, 32 bits (volume 2, 8.4.2).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct PageFault: u32 {
        /// Bit 0: a page or table is present and forbids the access.
        const PRESENT = 1 << 0;
        /// Bit 1: a write.
        const WRITE = 1 << 1;
        /// Bit 2: at CPL 3.
        const USER = 1 << 2;
        /// Bit 3: a reserved bit is set in an entry.
        const RESERVED = 1 << 3;
        /// Bit 4: a code fetch, reported while there is NX or SMEP.
        const FETCH = 1 << 4;
    }
}

/// Why there is no translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalkError {
    /// The guest is due a #PF with this error code.
    PageFault(PageFault),
    /// The address is not canonical: the guest is due a #GP(0), or a #SS(0) for stack accesses.
    NonCanonical,
    /// An entry lies where the guest has no memory.
    NoMemory(GuestPhys),
}

/// What the entries on the way add up to: a permission holds if every level grants it.
#[derive(Clone, Copy)]
struct Permissions {
    writable: bool,
    user: bool,
    executable: bool,
}

/// Translates a linear address as the processor would. `read` returns the 8 bytes at a guest-physical address that is a
/// multiple of 8, or `None` where the guest has no memory.
///
/// # Errors
/// See [`WalkError`].
pub fn walk(
    paging: &Paging,
    linear: u64,
    access: Access,
    mut read: impl FnMut(GuestPhys) -> Option<u64>,
) -> Result<Translation, WalkError> {
    let linear = paging.effective(linear).ok_or(WalkError::NonCanonical)?;
    let Some(levels) = paging.levels() else {
        return Ok(Translation::identity(linear));
    };
    let mut granted = Permissions {
        writable: true,
        user: true,
        executable: true,
    };
    let mut table = paging.root();
    for level in (1..=levels).rev() {
        let at = paging.slot(table, linear, level);
        let raw = read(GuestPhys(at.0 & !7)).ok_or(WalkError::NoMemory(at))?;
        let entry = paging.select(raw, at);
        if entry & 1 == 0 {
            return Err(WalkError::PageFault(code(paging, access, PageFault::empty())));
        }
        let leaf = paging.is_leaf(entry, level);
        if entry & paging.reserved(level, leaf) != 0 {
            return Err(WalkError::PageFault(code(
                paging,
                access,
                PageFault::PRESENT | PageFault::RESERVED,
            )));
        }
        if paging.carries_permissions(level) {
            granted.writable &= entry & 2 != 0;
            granted.user &= entry & 4 != 0;
        }
        granted.executable &= !(paging.nx && entry >> 63 != 0);
        if leaf {
            return finish(paging, access, granted, paging.translation(entry, level, linear));
        }
        table = paging.next_table(entry);
    }
    unreachable!("level 1 is a leaf")
}

/// The translation, unless the permissions forbid the access.
fn finish(paging: &Paging, access: Access, granted: Permissions, found: Translation) -> Result<Translation, WalkError> {
    let Permissions {
        writable,
        user,
        executable,
    } = granted;
    let user_page_barred = match access.kind {
        AccessKind::Fetch => paging.smep,
        AccessKind::Read | AccessKind::Write => paging.smap && !access.alignment_check,
    };
    let allowed = match access.kind {
        _ if access.user && !user => false,
        _ if !access.user && user && user_page_barred => false,
        AccessKind::Read => true,
        AccessKind::Write => writable || (!access.user && !paging.wp),
        AccessKind::Fetch => executable,
    };
    if !allowed {
        return Err(WalkError::PageFault(code(paging, access, PageFault::PRESENT)));
    }
    Ok(Translation {
        writable,
        user,
        executable,
        ..found
    })
}

/// The error code of an access, with the bits that say what was wrong.
fn code(paging: &Paging, access: Access, why: PageFault) -> PageFault {
    let mut code = why;
    code.set(PageFault::WRITE, access.kind == AccessKind::Write);
    code.set(PageFault::USER, access.user);
    let reports_fetch = paging.smep || (paging.nx && paging.mode != Mode::TwoLevel);
    code.set(PageFault::FETCH, access.kind == AccessKind::Fetch && reports_fetch);
    code
}

#[cfg(test)]
mod tests;
