//! The few system calls that have no safe wrapper. Nothing else in the crate is `unsafe`.

mod birth;
pub(super) mod descriptors;
pub(super) mod hold;
#[cfg(target_os = "macos")]
pub(super) mod info;
pub(super) mod launch;
pub(super) mod reap;
pub(super) mod signals;
