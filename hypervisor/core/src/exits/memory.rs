//! What a guest touches and does not have: memory that it gave back is given to it again, other memory ends it.

use svm::addr::GuestPhys;

use super::{End, Next};
use crate::guest::Guest;
use crate::paging::Paging;

/// A nested page fault (15.25.6): EXITINFO2 is the guest-physical address.
pub fn nested_page_fault(guest: &mut Guest) -> Next {
    touched(guest, GuestPhys(guest.vmcb.control.exit_info_2))
}

/// The guest touched memory that is not mapped; under shadow paging the next #PF maps it. What is absent no TLB knows, so
/// there is nothing to flush.
pub fn touched(guest: &mut Guest, address: GuestPhys) -> Next {
    let Some(host) = guest.memory.take_again(address) else {
        return Next::End(End::MemoryViolation);
    };
    if let Paging::Nested(nested) = &mut guest.paging {
        nested.map(address.page(), host);
    }
    Next::Resume
}
