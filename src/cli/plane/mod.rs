//! The embedded control plane of this machine: where it is, its database, starting and ending it.

pub(crate) mod address;
pub(crate) mod admin;
pub(crate) mod boot;
pub(crate) mod database;
pub(crate) mod signal;
