//! The embedded control plane of this machine: where it is, starting it, ending it.

pub(crate) mod address;
pub(crate) mod boot;
pub(crate) mod signal;
