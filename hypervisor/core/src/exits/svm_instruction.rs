//! SVM instructions executed by the guest: it has a processor without SVM, so #UD.
//!
//! At CPL 0 they come here by their intercepts. At CPL 3 the processor raises #GP(0) before it looks at the intercept
//! (APM vol. 2, 15.9); see [`super::exception`].

use super::{INVALID_OPCODE, Next};
use crate::defect;
use crate::guest::Guest;

/// Raises #UD.
pub fn handle(guest: &mut Guest) -> Next {
    if guest.cpl() == 0 && defect::SVM_INSN_SKIPPED.is_on() {
        return guest.retire();
    }
    guest.raise(INVALID_OPCODE, None)
}
