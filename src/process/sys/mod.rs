//! The few system calls that have no safe wrapper. Nothing else in the crate is `unsafe`.

pub(super) mod descriptors;
pub(super) mod hold;
#[cfg(target_os = "macos")]
pub(super) mod info;
pub(super) mod join;
pub(super) mod session;
pub(super) mod signals;
