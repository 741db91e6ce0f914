//! What every behaviour test needs.

pub(crate) mod eventually;
pub(crate) mod fault_proxy;
pub(crate) mod sandbox;
