//! The daemon: composes everything, owns tasks and shutdown.

pub mod feed;
pub mod reconcile;
pub mod shutdown;
pub mod status;
