//! Exit codes (appendix C) and what EXITINFO1 and EXITINFO2 hold for the codes that say more than "it happened".

mod code;
mod info;

pub use code::ExitCode;
pub use info::{IoExitInfo, NpfErrorCode};
