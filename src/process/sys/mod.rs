//! The few system calls that have no safe wrapper. Nothing else in the crate is `unsafe`.

pub(super) mod descriptors;
pub(super) mod session;
pub(super) mod signals;
