//! The commands, a file each.

pub(crate) mod check;
pub(crate) mod diff;
pub(crate) mod explain;
pub(crate) mod keygen;
pub(crate) mod log_level;
pub(crate) mod ls;
pub(crate) mod peers;
pub(crate) mod reset;
pub(crate) mod stat;
